"""Results of a film as DICOM objects, one file an object."""
