"""What cxrkit expects of exporters: files that an installed runtime computes as the network itself does."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import SkipTest

import numpy as np
import torch

from cxrkit.engine.runtimes import find_runtime
from cxrkit.errors import ConfigError
from cxrkit.plugins import installed
from cxrkit.services import Deployable, Exporter
from cxrkit.testing.expectations import Check, Subject, expect, own_randomness

_DESCRIPTION = '{"a description": "of \\u00e4ny \\"kind\\""}'


def _network() -> Deployable:
    with own_randomness(0):
        layers = torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 3, 1), torch.nn.Sigmoid()
        images = torch.randn(4, 1, 16, 16).numpy()
    return Deployable(torch.nn.Sequential(*layers).eval(), images, _DESCRIPTION)


def it_computes_what_the_network_does(subject: Subject) -> None:
    """For batches of 1 and 3 the probabilities differ by less than 0.01, and the description comes back."""
    exporter: Exporter = subject.build_if_usable()
    network = _network()
    files = exporter.files(network)
    suffix = exporter.suffix
    expect(bool(files.get(suffix)), f"a file {suffix}", str(sorted(files)), "Return its content by its suffix.")
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / f"network{name}").write_bytes(content)
        file = Path(folder) / f"network{suffix}"
        try:
            _, runtime = find_runtime(file, "auto", installed().registry)
        except ConfigError as error:
            raise SkipTest(str(error)) from error
        description, compute = runtime.load(file)
    expect(description == _DESCRIPTION, "the description inside", repr(description[:80]), "Write it into the file.")
    for count in (1, 3):
        images = network.images[:count]
        with torch.no_grad():
            expected = network.network(torch.from_numpy(images)).numpy()
        found = compute(images)
        expect(found.shape == expected.shape, f"probabilities {expected.shape}", str(found.shape), "Any batch must do.")
        off = float(np.abs(found - expected).max())
        expect(off < 0.01, "the network's probabilities", f"some that differ by {off:.3f}", "Check the conversion.")


CHECKS: tuple[Check, ...] = (it_computes_what_the_network_does,)
