"""From files to what a network sees: readers, preprocessing, the store, splits, and the check of a dataset."""
