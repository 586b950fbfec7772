"""`python -m llama_dashscope` is the command `llama-dashscope`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
