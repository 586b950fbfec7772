"""Which changes of the code the tests notice: `nox -s mutants`."""
