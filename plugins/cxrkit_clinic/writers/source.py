"""What a DICOM object takes over from the film that it was made of: its place in the archive, and its references."""

from __future__ import annotations

import json
import re
import uuid
import warnings
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.valuerep import DA, TM, validate_value

from cxrkit import DeclinedError, Segmentation, __version__
from cxrkit_clinic.writers.texts import LONGEST, ascii_text

#: Attributes of the Patient, General Study, Patient Study and Clinical Trial modules that hold plain values. Those that
#: every object must have are empty where the film lacks them, or has something that the standard doesn't allow.
_REQUIRED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
)
_OPTIONAL = (
    *("IssuerOfPatientID", "TypeOfPatientID", "PatientBirthTime", "OtherPatientNames", "EthnicGroup"),
    *("PatientComments", "StudyDescription", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy"),
    *("AdmittingDiagnosesDescription", "PatientAge", "PatientSize", "PatientWeight", "AdmissionID"),
    *("TimezoneOffsetFromUTC",),
)
#: Who made the objects, and with what.
MAKER = "cxrkit"
_SEXES = ("M", "F", "O")
_UID = re.compile(r"[012](\.[0-9]+)+")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
#: The standard's names of character sets, but for GBK, which is new and part of GB18030.
_CHARACTER_SETS = re.compile(r"|ISO_IR \d+|ISO 2022 IR \d+|GB18030")
#: Where a film says when it was made: date and time, the nearest first.
_MOMENTS = ("Acquisition", "Content", "Series", "Study")
_NO_DATE = "19000101"


@dataclass(frozen=True)
class Source:
    """A DICOM film as objects refer to it.

    Attributes:
        image: what highdicom needs of the film, without patient data: UIDs, size, and whether it was compressed with
            loss.
        identity: the patient's and the study's attributes, as objects repeat them.
        date, time: when the film was made, `YYYYMMDD` and `HHMMSS`.
        burned_in: whether the film has patient data in its pixels, `YES` or `NO`; None where it doesn't say.
        of_chest: whether the film says that it shows a chest.
        orientation: what the film's rows and columns run to, such as `L` and `F`; empty where it doesn't say.
        weights: checksum of the weights' file.
        version: of the cxrkit that applied them.
        parameters: weights and settings by name, as the objects state them.
    """

    image: Dataset
    identity: Dataset
    date: str
    time: str
    burned_in: str | None
    of_chest: bool
    orientation: tuple[str, ...]
    weights: str
    version: str
    parameters: dict[str, str]

    def uid(self, *role: str) -> str:
        """A UID that the same film, weights, version and settings always give for the same role."""
        return _uid_from(self.image.SOPInstanceUID, self.version, *self.parameters.values(), *role)

    @property
    def device_uid(self) -> str:
        """A UID of the network and the version that applied it."""
        return _uid_from(self.version, self.weights)

    @property
    def equipment(self) -> dict[str, Any]:
        """What made an object, as highdicom's constructors take it."""
        return {
            "manufacturer": MAKER,
            "manufacturer_model_name": MAKER,
            "software_versions": self.version,
            "device_serial_number": self.weights,
        }


def source_of(result: Segmentation, writer: str) -> Source:
    """The film that a result was made of.

    Raises:
        DeclinedError: it isn't DICOM, or nothing can refer to it. DataError: its file can no longer be read.
    """
    file = result.film.source
    if file is None or not file.dicom:
        raise DeclinedError(
            f"{writer} wrote nothing: the film isn't a DICOM file.", "Leave the writer out for such films."
        )
    header = file.header
    instance, kind = _uid(header, "SOPInstanceUID"), _uid(header, "SOPClassUID")
    if not instance or not kind:
        missing = "SOPClassUID" if instance else "SOPInstanceUID"
        raise DeclinedError(
            f"{writer} wrote nothing: the DICOM header has no valid {missing}, so nothing can refer to the film.",
            "Export the film again, or leave the writer out for it.",
        )
    study, series = _uid(header, "StudyInstanceUID"), _uid(header, "SeriesInstanceUID")
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = kind, instance
    image.StudyInstanceUID = study or _uid_from(instance, "study")
    image.SeriesInstanceUID = series or _uid_from(instance, "series")
    image.Rows, image.Columns = result.film.pixels.shape
    image.Modality = "DX"
    for name in _REQUIRED:
        setattr(image, name, "")
    _copy_loss(header, image)
    date, time = _moment(header)
    burned_in = _value(header, "BurnedInAnnotation")
    weights = result.weights
    sha256 = "unknown" if weights is None else weights.sha256
    settings = {name: ascii_text(json.dumps(value, default=str), LONGEST) for name, value in result.settings.items()}
    return Source(
        image,
        _identity(header),
        date,
        time,
        burned_in=burned_in if burned_in in ("YES", "NO") else None,
        of_chest=_value(header, "BodyPartExamined") == "CHEST",
        orientation=_orientation(header),
        weights=sha256,
        version=ascii_text(__version__ if weights is None else weights.cxrkit),
        parameters={"weights_sha256": sha256, **dict(sorted(settings.items()))},
    )


def _uid_from(*parts: str) -> str:
    """A UID that the same texts always give (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, chr(10).join(parts)).int}"


def _raw(header: Any, name: str) -> Any:
    with suppress(Exception):  # pydicom reads a value when it is asked for, and raises many kinds at odd ones
        return header.get(name)
    return None


def _uid(header: Any, name: str) -> str:
    """A UID of the header, or for the instance and its class of the file's meta information; "" where it has none."""
    found = [_raw(header, name), _raw(getattr(header, "file_meta", None), f"MediaStorage{name}")]
    texts = [str(value).strip() for value in found if value]
    return next((text for text in texts if len(text) <= 64 and _UID.fullmatch(text)), "")


def _value(header: Any, name: str) -> str:
    """A value as text, where the standard allows it; otherwise ""."""
    found = _raw(header, name)
    several = not isinstance(found, str | bytes) and hasattr(found, "__len__") and type(found).__name__ != "PersonName"
    if found is None or (several and dictionary_VM(name) == "1"):
        return ""
    values = [_CONTROLS.sub("", str(value)).strip() for value in (found if several else [found])]
    vr = dictionary_VR(name)
    allowed = all(_allowed(vr, value) for value in values)
    return "\\".join(values) if allowed and (name != "PatientSex" or values[0] in _SEXES) else ""


def _allowed(vr: str, value: str) -> bool:
    try:
        validate_value(vr, value, config.RAISE)
        if vr in ("DA", "TM"):
            {"DA": DA, "TM": TM}[vr](value)
    except (ValueError, TypeError, OverflowError):
        return False
    groups = value.split("=") if vr == "PN" else []
    return "\\" not in value and all(group.count("^") <= 4 for group in groups)


def _identity(header: Any) -> Dataset:
    """Patient and study, in the film's character set where it fits, otherwise in UTF-8."""
    identity = Dataset()
    for name in (*_REQUIRED, *_OPTIONAL):
        value = _value(header, name)
        if value or name in _REQUIRED:
            setattr(identity, name, value)
    _copy_anonymity(header, identity)
    texts = "".join(str(element.value) for element in identity)
    if not texts.isascii():
        declared = _raw(header, "SpecificCharacterSet")
        identity.SpecificCharacterSet = declared if _survives(identity, declared) else "ISO_IR 192"
    return identity


def _copy_anonymity(header: Any, identity: Dataset) -> None:
    """That the patient was made anonymous, which may only be said together with how."""
    removed, method = _value(header, "PatientIdentityRemoved"), _value(header, "DeidentificationMethod")
    if not method:
        with suppress(Exception):
            items = header.get("DeidentificationMethodCodeSequence") or []
            meanings = [str(item.CodeMeaning) for item in items]
            method = "\\".join(text for text in meanings if _allowed("LO", text))
    if removed == "NO" or (removed == "YES" and method):
        identity.PatientIdentityRemoved = removed
        if removed == "YES":
            identity.DeidentificationMethod = method


def _survives(identity: Dataset, charset: Any) -> bool:
    """Whether all texts are the same again after they were written in a character set and read."""
    terms = [charset] if isinstance(charset, str) else [*(charset or ())]
    if not any(terms) or not all(_CHARACTER_SETS.fullmatch(str(term)) for term in terms):
        return False
    written = Dataset()
    written.update(identity)
    written.SpecificCharacterSet = charset
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            buffer = DicomBytesIO()
            buffer.is_implicit_VR, buffer.is_little_endian = False, True
            write_dataset(buffer, written)
            read = read_dataset(BytesIO(buffer.getvalue()), is_implicit_VR=False, is_little_endian=True)
            return all(str(read[element.tag].value) == str(element.value) for element in identity)
    except Exception:
        return False


def _copy_loss(header: Any, image: Dataset) -> None:
    """Whether the film was ever compressed with loss: what is derived from it says so too."""
    if _value(header, "LossyImageCompression") != "01":
        return
    ratio, method = _value(header, "LossyImageCompressionRatio"), _value(header, "LossyImageCompressionMethod")
    image.LossyImageCompression = "01"
    image.LossyImageCompressionRatio, image.LossyImageCompressionMethod = ratio or "1", method or "UNKNOWN"


def _moment(header: Any) -> tuple[str, str]:
    """When the film was made."""
    for name in _MOMENTS:
        date, time = _value(header, f"{name}Date"), _value(header, f"{name}Time")
        if date:
            return date, time or "000000"
    return _NO_DATE, "000000"


def _orientation(header: Any) -> tuple[str, ...]:
    words = tuple(_value(header, "PatientOrientation").split("\\"))
    return words if len(words) == 2 and all(re.fullmatch("[LRHFAP]{1,3}", word) for word in words) else ()
