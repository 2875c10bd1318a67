"""Built-in datasets, one system a file."""
