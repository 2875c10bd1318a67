"""Built-in models, one system a file."""
