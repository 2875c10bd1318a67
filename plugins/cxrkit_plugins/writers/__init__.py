"""What `cxrkit predict` can write of a film, one file a system."""
