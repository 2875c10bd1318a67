"""What a run leaves for its reader: tables, curves, and films with their structures drawn on them."""
