"""The tests: the same folders as the package, with the same names."""
