"""`cxrkit doctor`: whether this machine and installation can do the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from cxrkit.cli.flags import Json
from cxrkit.errors import CxrkitError, reason

if TYPE_CHECKING:
    from rich.table import Table

Status = Literal["ok", "note", "warning", "broken"]

_LITTLE_SPACE = 2e9
#: What is imported, and of optional ones, what for.
_LIBRARIES = {
    **dict.fromkeys(("cv2", "h5py", "safetensors", "lightning_fabric", "kornia", "matplotlib"), ""),
    "segmentation_models_pytorch": "the model smp needs it: pip install segmentation-models-pytorch",
    "pydicom": "DICOM films need it: pip install 'cxrkit[dicom]'",
}


@dataclass(frozen=True, slots=True)
class Examination:
    """What was examined, its state, and what to do if something is wrong."""

    subject: str
    status: Status
    found: str
    remedy: str = ""


def doctor(as_json: Json = False) -> None:
    """Check the installation: torch, devices, libraries, plugins, cache. Exits with 1 if something is broken."""
    from cxrkit.cli.console import show, show_json

    results = [result for examine in _EXAMINATIONS for result in _safely(examine)]
    broken = [result for result in results if result.status == "broken"]
    if as_json:
        show_json({"healthy": not broken, "examinations": [asdict(result) for result in results]})
    else:
        show(_table(results))
        show(f"{len(broken)} broken." if broken else "Everything that cxrkit needs is in place.")
    if broken:
        raise typer.Exit(1)


def _safely(examine: Callable[[], Iterator[Examination]]) -> list[Examination]:
    """The results of one examination; that it fails is a result too, since broken packages fail in any way."""
    results: list[Examination] = []
    try:
        for result in examine():
            results.append(result)
    except Exception as error:
        subject = examine.__name__.strip("_").replace("_", " ")
        results.append(Examination(subject, "broken", reason(error), f"Fix or reinstall {subject}."))
    return results


def _python() -> Iterator[Examination]:
    import platform

    from cxrkit.version import __version__

    yield Examination("cxrkit", "ok", __version__)
    yield Examination("python", "ok", f"{platform.python_version()} on {platform.platform()}")


def _torch() -> Iterator[Examination]:
    import warnings

    import torch

    from cxrkit.engine.hardware import choose_device, choose_precision, describe_hardware

    yield Examination("torch", "ok", torch.__version__)
    # A graphics card that torch can't use is reported only by a warning.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        device = choose_device("auto")
    about = describe_hardware(device)
    found = f"{device.type}: {about['name']}, {about['threads']} threads"
    yield Examination("device", "ok", found)
    for message in dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught):
        yield Examination("device", "warning", message, "Update the driver, or install the torch that fits it.")
    precision = choose_precision("auto", device)
    slow = device.type == "cpu" and precision == "32"
    yield Examination(
        "precision",
        "note" if slow else "ok",
        precision if not slow else "32: this processor has no bf16, which would be faster",
    )


def _torchvision() -> Iterator[Examination]:
    import importlib.util
    import warnings

    if importlib.util.find_spec("torchvision") is None:
        yield Examination("torchvision", "warning", "not installed", "The model smp needs it: pip install torchvision")
        return
    from cxrkit.compat import import_torchvision

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = import_torchvision()
    # If its compiled library doesn't fit torch, its operators are declared but not implemented.
    try:
        import torch

        torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        yield Examination("torchvision", "ok", module.__version__)
    except (RuntimeError, NotImplementedError, AttributeError):
        yield Examination(
            "torchvision", "note", f"{module.__version__}, built for another torch; cxrkit works around it"
        )


def _libraries() -> Iterator[Examination]:
    import importlib

    for module, purpose in _LIBRARIES.items():
        try:
            found = importlib.import_module(module)
        except Exception as error:  # a broken package may fail in any way
            missing = isinstance(error, ModuleNotFoundError) and error.name == module
            state: Status = "broken" if not purpose else "note" if missing else "warning"
            what = "not installed" if missing else reason(error)
            yield Examination(module, state, what, purpose or "Reinstall cxrkit's dependencies.")
        else:
            yield Examination(module, "ok", str(getattr(found, "__version__", "installed")))


def _plugins() -> Iterator[Examination]:
    from cxrkit.plugins import installed

    plugins = installed()
    for status in plugins.statuses:
        subject = f"plugin {status.name}"
        origin = f"{status.distribution} {status.version}"
        if status.disabled:
            yield Examination(subject, "note", f"{origin}: switched off by CXRKIT_DISABLE_PLUGINS")
        elif status.error is not None:
            remedy = f"Update or uninstall {status.distribution}; see `cxrkit plugins list --details`."
            yield Examination(subject, "warning", f"{origin}: {status.error}", remedy)
        else:
            count = len(status.components)
            yield Examination(subject, "ok", f"{origin}: {count} component{'' if count == 1 else 's'}")
    for (kind, name), packages in plugins.registry.clashes().items():
        what = f"claimed by {' and '.join(packages)}"
        yield Examination(f"{kind} {name}", "warning", what, "Uninstall one, or use CXRKIT_DISABLE_PLUGINS.")
    if not plugins.registry.names("model"):
        yield Examination("models", "broken", "none: the built-in plugin is missing", "Reinstall cxrkit.")


def _verbs() -> Iterator[Examination]:
    from cxrkit.cli.verbs import other_verbs

    verbs, faults = other_verbs()
    for fault in faults:
        yield Examination("verbs", "warning", fault, "Uninstall one of the packages, or use CXRKIT_DISABLE_PLUGINS.")
    for verb in [verb for verb in verbs if not verb.taken]:
        try:
            verb.load()
        except CxrkitError as error:
            yield Examination(f"command {verb.name}", "warning", error.what, error.remedy)
        else:
            yield Examination(f"command {verb.name}", "ok", f"{verb.distribution} {verb.version}")


def _runtimes() -> Iterator[Examination]:
    """What would compute exported networks of each format."""
    from cxrkit.engine.runtimes import declared, find_runtime
    from cxrkit.plugins import installed

    registry = installed().registry
    for suffix in sorted({suffix for _, found in declared(registry, "runtime", "suffixes") for suffix in found}):
        try:
            name, _ = find_runtime(Path(f"network{suffix}"), "auto", registry)
        except CxrkitError as error:
            yield Examination(f"{suffix} networks", "note", error.what.partition(": ")[2], error.remedy)
        else:
            yield Examination(f"{suffix} networks", "ok", f"computed by {name}")


def _cache() -> Iterator[Examination]:
    import shutil
    import tempfile

    from cxrkit.files import cache_folder

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        remedy = "Set CXRKIT_CACHE to a writable folder."
        yield Examination("cache", "broken", f"{folder}: can't be written: {error.strerror}", remedy)
        return
    free = shutil.disk_usage(folder).free
    found = f"{folder}: {free / 1e9:.1f} GB free"
    little = free < _LITTLE_SPACE
    yield Examination("cache", "warning" if little else "ok", found, "Free some space." if little else "")


_EXAMINATIONS: tuple[Callable[[], Iterator[Examination]], ...] = (
    _python,
    _torch,
    _torchvision,
    _libraries,
    _plugins,
    _verbs,
    _runtimes,
    _cache,
)


def _table(results: list[Examination]) -> Table:
    from cxrkit.cli.console import styled, table

    styles = {"ok": "green", "note": "cyan", "warning": "yellow", "broken": "bold red"}
    rows = [
        (styled(r.status, styles[r.status]), r.subject, f"{r.found}\n{r.remedy}" if r.remedy else r.found)
        for r in results
    ]
    return table(("", "what", "state"), rows)
