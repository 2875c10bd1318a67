"""Built-in losses: pure functions in `functional`, one family a file beside it."""
