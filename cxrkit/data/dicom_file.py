"""DICOM files: which they are, and their datasets."""

from __future__ import annotations

import zlib
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

from cxrkit.data.dicom_header import Header, signs_of_another_subject
from cxrkit.errors import DataError
from cxrkit.segmentation import FilmSource

#: Suffixes that say that a file is DICOM, whatever it holds; others are DICOM by their content.
_SUFFIXES = (".dcm", ".dicom")
_DEFLATED = "1.2.840.10008.1.2.1.99"
#: Bytes before the end of (0002,0000), which says how many more belong to the file's meta information.
_META_START = 144
#: Bytes that a file with its pixels may have.
BYTE_LIMIT = 1 << 30
#: Bytes that a deflated file may hold when inflated, beside its pixels.
HEADER_LIMIT = 1 << 24
#: Value representations of the elements that a file without a preamble may begin with.
_FIRST_KINDS = (b"UL", b"UI", b"CS", b"OB", b"SH", b"LO", b"DA", b"TM", b"DT")


class DicomSource(FilmSource):
    """A DICOM file, whose header is read when it is first used."""

    dicom = True

    @cached_property
    def header(self) -> Any:
        """The header without pixels, a `pydicom.Dataset`."""
        return read_dataset(self.path)

    @property
    def another_subject(self) -> tuple[str, ...]:
        """Signs in the header of another subject than a chest from the front."""
        return signs_of_another_subject(Header(self.path, self.header))


def is_dicom(path: Path) -> bool:
    """Whether the suffix says that it is a DICOM file, or the content: `DICM` after the preamble, or a first element.

    Files without a preamble begin with an element of group 0002 or 0008, and the next one of that group follows.
    """
    if path.suffix.lower() in _SUFFIXES:
        return True
    with path.open("rb") as file:
        start = file.read(1024)
    return start[128:132] == b"DICM" or _begins_with_elements(start)


def _begins_with_elements(start: bytes) -> bool:
    group = start[:2]
    if group not in (b"\x02\x00", b"\x08\x00") or len(start) < 16 or start[3] > 1:
        return False
    if start[4:6] in _FIRST_KINDS:
        long = start[4:6] == b"OB"
        value, length = (12, start[8:12]) if long else (8, start[6:8])
    else:
        value, length = 8, start[4:8]
    following = value + int.from_bytes(length, "little")
    after = start[following : following + 4]
    return len(after) == 4 and after[:2] == group and after[3:1:-1] > start[3:1:-1]


def read_dataset(path: Path, *, pixels: int = 0) -> Any:
    """The `pydicom.Dataset` of a file, with its pixels, which take that many bytes when decoded, or without.

    Raises:
        DataError: pydicom is missing, or the file is not DICOM, too large, truncated or corrupt.
    """
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
        from pydicom.filereader import read_file_meta_info
    except ImportError as error:
        raise DataError(
            f"{path}: is a DICOM file, and pydicom, which reads those, is not installed.", "pip install 'cxrkit[dicom]'"
        ) from error
    try:
        with path.open("rb") as file:
            start = file.read(1024)
            if pixels and path.stat().st_size > BYTE_LIMIT:
                raise _too_large(path, "is", BYTE_LIMIT)
        if start[128:132] == b"DICM":
            meta = read_file_meta_info(path)
            if str(meta.get("TransferSyntaxUID")) == _DEFLATED:
                return _read_deflated(path, meta, pixels)
        elif _DEFLATED.encode() in start:
            raise ValueError("deflated, without a preamble")
        return pydicom.dcmread(path, stop_before_pixels=not pixels, force=_begins_with_elements(start))
    except (DataError, MemoryError):
        raise
    except InvalidDicomError as error:
        raise DataError(
            f"{path}: is not a DICOM file.", "Check the file, or give it the suffix it should have."
        ) from error
    # A corrupt file makes the parser raise anything from EOFError to struct.error.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: the DICOM file is truncated or corrupt ({reason}).", "Copy it again.") from error


def _read_deflated(path: Path, meta: Any, pixels: int) -> Any:
    """A deflated dataset, inflated piece by piece and no further than it may: pydicom inflates any amount at once."""
    from pydicom.dataset import FileDataset
    from pydicom.filereader import read_dataset as parse

    limit, content, ended = HEADER_LIMIT + pixels, bytearray(), False
    with path.open("rb") as file:
        preamble = file.read(128)
        file.seek(_META_START + int(meta.FileMetaInformationGroupLength))
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        while not ended and len(content) <= limit:
            if not (data := inflate.unconsumed_tail or file.read(1 << 20)):
                raise EOFError("the deflated data are cut off")
            content += inflate.decompress(data, 1 << 22)
            ended = inflate.eof
    found = parse(BytesIO(content), False, True, stop_when=None if pixels else _at_pixels)
    if len(content) > limit and (pixels or "Rows" not in found):
        raise _too_large(path, "inflates to", limit)
    return FileDataset(BytesIO(), found, preamble, meta, False, True)


def _at_pixels(tag: int, *_: object) -> bool:
    return tag in (0x7FE00008, 0x7FE00009, 0x7FE00010)


def _too_large(path: Path, what: str, limit: int) -> DataError:
    return DataError(
        f"{path}: {what} more than {limit >> 20:,} MiB; a film isn't that large.",
        "Check that it is the right file.",
    )
