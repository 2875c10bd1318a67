"""`cxrkit plugins new` writes a plugin whose tests pass as they are, and writes over nothing."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cxrkit.scaffold
from cxrkit.errors import ConfigError, StorageError
from cxrkit.scaffold import create_plugin

FILES = [
    "README.md",
    "pyproject.toml",
    "src/cxrkit_heart_shape/__init__.py",
    "src/cxrkit_heart_shape/network.py",
    "src/cxrkit_heart_shape/loss.py",
    "src/cxrkit_heart_shape/py.typed",
    "tests/test_conformance.py",
    "tests/test_network.py",
    "tests/test_loss.py",
    "LICENSE",
    ".gitignore",
]


def test_all_files_are_written(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "plugin"
    written = create_plugin("heart-shape", folder)
    assert written == [folder / name for name in FILES]
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(written)


def test_the_prefix_may_be_given(tmp_path: Path) -> None:
    short = create_plugin("heart-shape", tmp_path / "short")
    long = create_plugin("cxrkit-heart-shape", tmp_path / "long")
    assert [path.read_text() for path in short] == [path.read_text() for path in long]


def test_the_project_names_its_package_and_plugin(tmp_path: Path) -> None:
    create_plugin("heart-shape", tmp_path)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    assert project["project"]["name"] == "cxrkit-heart-shape"
    assert project["project"]["entry-points"]["cxrkit"] == {"heart-shape": "cxrkit_heart_shape"}
    assert project["project"]["dependencies"][0].startswith("cxrkit>=")
    assert (tmp_path / project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"][0]).is_dir()


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,6}){0,3}", fullmatch=True).filter(str.isascii))
def test_any_accepted_name_gives_valid_python(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("plugin")
    for path in create_plugin(name, folder):
        text = path.read_text()
        assert not re.search(r"\$\w|\$\{", text), f"{path}: a placeholder is left"
        if path.suffix == ".py":
            ast.parse(text)
            assert text.startswith('"""')
            assert all(len(line) <= 120 for line in text.splitlines())


@pytest.mark.parametrize("name", ["class", "import", "None".lower(), "torch"])
def test_keywords_and_other_packages_names_do_no_harm(tmp_path: Path, name: str) -> None:
    create_plugin(name, tmp_path / name)
    assert (tmp_path / name / "src" / f"cxrkit_{name}" / "network.py").is_file()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("My_Nets", "for example my-nets"),
        ("2d-nets", "for example d-nets"),
        ("heart nets", "for example heart-nets"),
        ("heart--nets", "for example heart-nets"),
        ("../heart", "for example heart"),
        ("", "for example heart-nets"),
        ("-", "for example heart-nets"),
        ("cxrkit-", "for example heart-nets"),
        ("ü", "for example heart-nets"),
        ("x" * 41, "at most 40"),
        ("heart\n", "for example heart"),
    ],
)
def test_other_names_are_refused_with_one_that_works(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match="can't be a plugin's name") as caught:
        create_plugin(name, tmp_path / "plugin")
    assert hint in caught.value.remedy
    assert not (tmp_path / "plugin").exists()


@pytest.mark.parametrize("name", ["cxrkit", "plugins", "cxrkit-plugins", "builtin"])
def test_cxrkits_own_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="taken by cxrkit itself"):
        create_plugin(name, tmp_path / "plugin")


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="isn't an empty folder") as caught:
        create_plugin("heart", tmp_path)
    assert str(tmp_path) in caught.value.what
    assert list(tmp_path.iterdir()) == [tmp_path / "notes.txt"]
    with pytest.raises(ConfigError, match="isn't an empty folder"):
        create_plugin("heart", tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        create_plugin("heart", tmp_path / "file" / "plugin")


def test_half_a_plugin_is_taken_away_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def fill_up(path: Path, text: str) -> None:
        if len(written) == 4:
            raise StorageError(f"{path}: the disk is full.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        written.append(path)

    with monkeypatch.context() as patch:
        patch.setattr(cxrkit.scaffold, "write_text", fill_up)
        with pytest.raises(StorageError, match="the disk is full"):
            create_plugin("heart", tmp_path)
    assert written
    assert list(tmp_path.iterdir()) == []
    assert create_plugin("heart", tmp_path)


@pytest.mark.slow
def test_the_new_plugins_tests_pass(tmp_path: Path) -> None:
    create_plugin("heart-shape", tmp_path)
    # What pip would leave on `sys.path`; tests/test_example_plugin.py goes by way of pip itself.
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    info = tmp_path / "src" / "plugin.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata)
    ((name, value),) = project["entry-points"]["cxrkit"].items()
    (info / "entry_points.txt").write_text(f"[cxrkit]\n{name} = {value}\n")

    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "src"), *filter(None, sys.path)])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) > 30
    assert "skipped" not in done.stdout
