"""Launchers: where the runs of an ablation are computed."""
