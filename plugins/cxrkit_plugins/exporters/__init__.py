"""Formats that networks are exported to."""
