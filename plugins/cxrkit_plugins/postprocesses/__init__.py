"""What is done to masks after the threshold."""
