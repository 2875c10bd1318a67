"""Built-in losses: pure functions in `functional`, and a file for each family."""
