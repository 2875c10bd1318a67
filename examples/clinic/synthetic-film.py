"""Write a synthetic chest film as DICOM, of nobody, to try the way from the archive and back.

python examples/clinic/synthetic-film.py film.dcm
"""

from __future__ import annotations

import sys

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from cxrkit_plugins.datasets.phantom import PhantomDataset

dataset = PhantomDataset(None, size=1024)
pixels = dataset.read(dataset.entries()[0]).image.astype(np.float32)
pixels = np.rint(4095 * (pixels - pixels.min()) / np.ptp(pixels)).astype(np.uint16)

meta = FileMetaDataset()
meta.TransferSyntaxUID = ExplicitVRLittleEndian
meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["cxrkit", "instance"])
film = FileDataset(sys.argv[1], {}, file_meta=meta, preamble=b"\0" * 128)
film.SOPClassUID, film.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
film.StudyInstanceUID, film.SeriesInstanceUID = (generate_uid(entropy_srcs=["cxrkit", level]) for level in ("1", "2"))
film.PatientName, film.PatientID, film.PatientBirthDate, film.PatientSex = "Phantom^Synthetic", "PHANTOM1", "", "O"
film.StudyDate, film.StudyTime, film.StudyID, film.AccessionNumber = "20240101", "120000", "1", ""
film.ReferringPhysicianName, film.StudyDescription, film.Manufacturer = "", "Synthetic chest", ""
film.Modality, film.BodyPartExamined, film.ViewPosition, film.PatientOrientation = "CR", "CHEST", "PA", ["L", "F"]
film.SeriesNumber, film.InstanceNumber, film.BurnedInAnnotation = 1, 1, "NO"
film.ImagerPixelSpacing = [0.34, 0.34]
film.SamplesPerPixel, film.PhotometricInterpretation, film.PixelRepresentation = 1, "MONOCHROME2", 0
film.BitsAllocated, film.BitsStored, film.HighBit = 16, 12, 11
film.Rows, film.Columns = pixels.shape
film.PixelData = pixels.tobytes()
film.save_as(sys.argv[1], enforce_file_format=True)
