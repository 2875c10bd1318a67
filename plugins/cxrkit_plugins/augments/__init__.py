"""Built-in augments, one a file; `sampling` draws their random numbers."""
