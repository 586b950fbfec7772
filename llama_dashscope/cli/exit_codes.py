"""Exit codes of the command line."""

from typing import Final

__all__ = ["EXIT_CODES", "FAILED", "INTERRUPTED", "MISUSED", "OK"]

OK: Final = 0
FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130
"""The shells' exit code for a program that Ctrl-C ended: 128 plus the signal's number."""

EXIT_CODES: Final = """\
exit codes:
  0    success
  1    the service, the connection, or reading or writing failed
  2    wrong usage: an invalid argument, no question, no key
  130  Ctrl-C stopped the answer or the batch
"""
