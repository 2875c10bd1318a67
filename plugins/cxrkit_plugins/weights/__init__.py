"""Trained networks that come with cxrkit, each beside its model card."""
