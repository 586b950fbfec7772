"""The cost of a call and of a frame, in this client and in its peers: `nox -s bench`."""

import sys
from pathlib import Path

# As for pytest: what tests and benchmarks share is imported by its own name.
sys.path.append(str(Path(__file__).parents[1] / "_support"))
