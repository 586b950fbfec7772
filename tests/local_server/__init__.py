"""A package only so that type checkers tell its modules from those of other rooms."""
