"""From the PACS and back: results as DICOM objects, and what receives films and sends results.

It comes with cxrkit and enters it as any package does, by entry points; what it needs is in the extra `cxrkit[clinic]`.
"""

from __future__ import annotations

from cxrkit.hookspecs import Register, hookimpl


@hookimpl
def register_writers(register: Register) -> None:
    """DICOM objects; they need the extra."""
    module = "cxrkit_clinic.writers.dicom"
    needed = "(pip install 'cxrkit[clinic]')"
    register("dicom-seg", f"{module}:SegmentationWriter", summary=f"masks as a DICOM segmentation {needed}")
    register("dicom-sr", f"{module}:ReportWriter", summary=f"the ratio as a DICOM structured report {needed}")
    register("dicom-sc", f"{module}:CaptureWriter", summary=f"the overlay as a DICOM secondary capture {needed}")
