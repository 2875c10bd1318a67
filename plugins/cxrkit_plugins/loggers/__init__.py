"""Built-in loggers, one a file; the packages that they need are optional extras."""
