"""`python -m llama_dashscope` is the command `llama-dashscope`."""

import sys

from llama_dashscope.cli import main

if __name__ == "__main__":
    sys.exit(main())
