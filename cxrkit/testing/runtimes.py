"""What cxrkit expects of runtimes: that they compute what exporters write, and name files that they can't read."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cxrkit.errors import DataError
from cxrkit.services import Runtime
from cxrkit.testing.expectations import Check, Subject, expect


def a_damaged_file_is_named(subject: Subject) -> None:
    """Files that hold something else raise a `DataError` that names them."""
    runtime: Runtime = subject.build_if_usable()
    suffixes = runtime.suffixes
    expect(
        bool(suffixes) and all(suffix.startswith(".") for suffix in suffixes),
        "the suffixes of its files",
        repr(suffixes),
        "Set `suffixes`, such as ('.onnx',).",
    )
    with tempfile.TemporaryDirectory() as folder:
        for suffix in suffixes:
            file = Path(folder) / f"network{suffix}"
            for content in (b"", b"PK\3\4 something else", bytes(1000)):
                file.write_bytes(content)
                try:
                    runtime.load(file)
                except DataError as error:
                    expect(str(file) in str(error), "an error that names the file", str(error), "Name it.")
                else:
                    expect(False, f"a DataError for a {suffix} file that is none", "none", "Check what is read.")


CHECKS: tuple[Check, ...] = (a_damaged_file_is_named,)
