"""Metrics of masks: pure functions on NumPy arrays, one subject a file."""
