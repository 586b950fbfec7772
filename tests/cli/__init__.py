"""The command line, in this process, as a program of its own, and at a terminal."""
