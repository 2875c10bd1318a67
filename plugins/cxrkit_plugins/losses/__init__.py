"""Built-in losses, one system a file."""
