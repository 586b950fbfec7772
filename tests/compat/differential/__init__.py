"""The same snippets on the official SDK and on this package, compared."""
