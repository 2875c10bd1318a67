"""Built-in augments, one system a file."""
