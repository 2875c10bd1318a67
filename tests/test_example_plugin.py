"""A third party's way: a plugin that pip installs into an environment of its own is listed, checked and trained.

The environment sees the packages of this one, so that torch isn't downloaded again, but the plugin itself is
installed by pip from its source, with the build backend that its pyproject.toml names. One process there runs all
command lines, since importing torch takes most of their time.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from cxrkit.scaffold import create_plugin

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLE = REPOSITORY / "examples" / "cxrkit-example-plugin"

pytestmark = pytest.mark.slow


LINES = """
import json, sys
from typer.testing import CliRunner
from cxrkit.cli.app import app
results = [CliRunner().invoke(app, line) for line in json.loads(sys.argv[1])]
print(json.dumps([[result.exit_code, result.stdout, result.stderr] for result in results]))
"""


class Said(NamedTuple):
    """How a command line ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and a folder to work in."""

    python: Path
    folder: Path

    def run(self, *arguments: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python with arguments; fail with all it printed unless it exits with `code`."""
        settings = {"OMP_NUM_THREADS": "1", "CXRKIT_CACHE": str(self.folder / "cache"), "COLUMNS": "200"}
        done = subprocess.run(
            [str(self.python), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=os.environ | settings | variables,
        )
        assert done.returncode == code, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done

    def cxrkit(self, *lines: Sequence[str]) -> list[Said]:
        """Run command lines, one after the other; their exit code, stdout and stderr."""
        return [Said(*one) for one in json.loads(self.run("-c", LINES, json.dumps(lines)).stdout)]

    def install(self, source: Path) -> None:
        """Install a plugin from its source; its dependencies, cxrkit and torch, are there already."""
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        constraints = ["-c", str(REPOSITORY / "constraints.txt")]
        # Without the backend at hand pip fetches it into a build environment, for which it needs the network.
        isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
        self.run(*pip, *constraints, *isolation, str(source))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    scripts = "Scripts" if sys.platform == "win32" else "bin"
    made = Environment(folder / "venv" / scripts / "python", folder)
    # `addsitedir` follows this environment's own .pth files too, which is how an editable cxrkit is found.
    here = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    site = made.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    (Path(site) / "outer.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in here))
    made.install(EXAMPLE)
    return made


def test_it_is_not_installed_here() -> None:
    assert importlib.util.find_spec("cxrkit_example_plugin") is None


@pytest.fixture(scope="module")
def said(environment: Environment) -> dict[str, Said]:
    """What command lines say, by the name of each."""
    runs = environment.folder / "runs"
    network = ["train", "--model", "residual-unet"]
    lines = {
        "models": ["list", "model"],
        "losses": ["list", "loss"],
        "plugins": ["plugins", "list"],
        "help": ["--help"],
        "model": ["show", "model", "residual-unet"],
        "check": ["plugins", "check", "cxrkit-example-plugin", "--json"],
        "refused": [*network, "--set", "model.depth=40", "--out", str(runs / "refused")],
        "trained": [
            *(*network, "--loss", "contour-bce", "--size", "64", "--steps", "4", "--set", "model.depth=2"),
            *("--set", "loss.radius=3", "--out", str(runs / "example"), "--set", "data.count=12"),
            *("--set", "data.size=64", "--test-size", "2", "--validation", "2"),
        ],
    }
    return dict(zip(lines, environment.cxrkit(*lines.values()), strict=True))


def test_its_components_are_listed(said: dict[str, Said]) -> None:
    assert "residual-unet" in said["models"].out
    assert "contour-bce" in said["losses"].out
    assert "cxrkit-example-plugin 0.1.0" in said["plugins"].out


def test_its_parameters_are_shown(said: dict[str, Said]) -> None:
    assert "base_channels" in said["model"].out
    assert "halvings of the resolution" in said["model"].out


def test_it_conforms(said: dict[str, Said]) -> None:
    checked = json.loads(said["check"].out)
    assert {result["outcome"] for result in checked} == {"passed"}
    assert {result["name"] for result in checked} == {"example", "residual-unet", "contour-bce"}


def test_its_verb_stands_beside_the_built_in_ones(said: dict[str, Said]) -> None:
    assert "Compare two readers' masks" in said["help"].out
    assert "agreement (cxrkit-example-plugin 0.1.0)" in said["plugins"].out


def test_its_own_tests_pass(environment: Environment) -> None:
    environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(EXAMPLE), str(EXAMPLE / "tests"))


def test_it_trains_from_the_command_line(environment: Environment, said: dict[str, Said]) -> None:
    assert said["trained"].code == 0, said["trained"].err
    run = environment.folder / "runs" / "example"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"] == {"name": "residual-unet", "base_channels": 16, "depth": 2}
    expected = {"name": "contour-bce", "weight": 1.0, "side_weight": None, "contour_weight": 5.0, "radius": 3}
    assert config["loss"] == [expected]
    assert list((run / "checkpoints").glob("*.safetensors"))
    # The run says where its network came from, for whoever loads it without the plugin.
    assert any("cxrkit-example-plugin" in path.read_text() for path in run.glob("*.*") if path.is_file())


def test_a_wrong_parameter_is_refused_before_anything_starts(environment: Environment, said: dict[str, Said]) -> None:
    assert said["refused"].code == 2
    assert "depth=40" in said["refused"].err
    assert "Traceback" not in said["refused"].err
    assert not (environment.folder / "runs" / "refused").exists()


def test_a_new_plugin_installs_beside_it(environment: Environment, tmp_path: Path) -> None:
    create_plugin("heart-shape", tmp_path / "plugin")
    environment.install(tmp_path / "plugin")
    listed = environment.run("-m", "cxrkit", "list", "model").stdout
    assert "heart-shape-net" in listed
    assert "residual-unet" in listed


def test_without_it_the_name_is_unknown(environment: Environment) -> None:
    command = ("-m", "cxrkit", "show", "model", "residual-unet")
    done = environment.run(*command, code=4, CXRKIT_DISABLE_PLUGINS="example")
    assert "no model called 'residual-unet'" in done.stderr
