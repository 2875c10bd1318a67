"""Ablations: grids and searches of runs that can be compared, launched side by side and read back as one result."""
