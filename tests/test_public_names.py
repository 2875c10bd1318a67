"""The names that cxrkit promises. Whoever changes this list changes other people's programs."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.metadata import version

import pytest

import cxrkit

PUBLIC = [
    "Augment",
    "Batch",
    "ConfigError",
    "CxrkitError",
    "DataError",
    "Dataset",
    "DeclinedError",
    "Deployable",
    "Entry",
    "Exporter",
    "Film",
    "Job",
    "Launcher",
    "Logger",
    "Loss",
    "Model",
    "Partner",
    "Predictor",
    "Postprocess",
    "PretrainedWeights",
    "Reading",
    "RunConfig",
    "RunningJob",
    "Sample",
    "Segmentation",
    "Segmenter",
    "Runtime",
    "SideOutputs",
    "TrainedRun",
    "TrainingReading",
    "ValidationReading",
    "Writer",
    "ablate",
    "calibrate",
    "draw_overlay",
    "evaluate",
    "hookimpl",
    "load",
    "measure",
    "predict",
    "read_film",
    "read_mask",
    "score",
    "train",
]

TESTING = [
    "Case",
    "ConformanceError",
    "Result",
    "check_augment",
    "check_dataset",
    "check_loss",
    "check_model",
    "check_writer",
    "conformance_cases",
    "run_conformance",
]


COMMANDS = [
    "ANY_WEIGHTS",
    "ConfigError",
    "CxrkitError",
    "DataError",
    "DeviceFlag",
    "Failure",
    "Json",
    "NoQuality",
    "Observer",
    "PluginError",
    "Predictions",
    "Quiet",
    "Results",
    "RunDirectory",
    "Silent",
    "StorageError",
    "TrainingError",
    "Workers",
    "at_most_pixels",
    "build_writers",
    "chosen_writers",
    "csv_text",
    "film_name",
    "films_below",
    "load_plugins",
    "load_results",
    "locked",
    "make_config",
    "make_files",
    "option",
    "progress",
    "ratio_of",
    "row_of",
    "say",
    "sensible_workers",
    "show",
    "show_json",
    "side_by_side",
    "stop_requests",
    "storage_error",
    "structure_colours",
    "table",
    "warn",
    "write_bytes",
]


@pytest.mark.parametrize(
    ("module", "names"), [("cxrkit", PUBLIC), ("cxrkit.testing", TESTING), ("cxrkit.commands", COMMANDS)]
)
def test_the_list_is_as_promised(module: str, names: list[str]) -> None:
    found = importlib.import_module(module)
    assert found.__all__ == names
    assert all(getattr(found, name) is not None for name in names)


def test_each_says_what_it_is_and_is_listed() -> None:
    assert not [name for name in PUBLIC if not getattr(cxrkit, name).__doc__]
    assert set(PUBLIC) <= set(dir(cxrkit))


def test_other_names_are_refused_as_usual() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = cxrkit.trian
    with pytest.raises(ImportError):
        exec("from cxrkit import trian")


def test_the_version_is_the_installed_one() -> None:
    assert cxrkit.__version__ == version("cxrkit")


def test_importing_cxrkit_is_cheap() -> None:
    script = (
        "import sys, cxrkit; dir(cxrkit); cxrkit.hookimpl\n"
        "print([m for m in ('torch', 'numpy', 'pydantic', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
