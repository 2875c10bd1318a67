"""Writing a new plugin: a complete distribution with a network, a loss and passing tests."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from string import Template

from cxrkit.errors import ConfigError
from cxrkit.files import storage_error, write_text
from cxrkit.version import __version__

PREFIX = "cxrkit-"

#: Names whose package or entry point cxrkit itself has.
_TAKEN = frozenset({"cxrkit", "plugins", "builtin"})

#: Where each template goes, in reading order.
_FILES = {
    "README.md": "README.md",
    "pyproject.toml": "pyproject.toml",
    "src/$package/__init__.py": "plugin.py",
    "src/$package/network.py": "network.py",
    "src/$package/loss.py": "loss.py",
    "src/$package/py.typed": "py.typed",
    "tests/test_conformance.py": "test_conformance.py",
    "tests/test_network.py": "test_network.py",
    "tests/test_loss.py": "test_loss.py",
    "LICENSE": "license",
    ".gitignore": "gitignore",
}


def create_plugin(name: str, folder: Path) -> list[Path]:
    """Write a plugin package whose tests pass, and return its files, the README first.

    The distribution is called `cxrkit-NAME` (a name that begins so is kept), its package `cxrkit_NAME`; its
    model and loss are `NAME-net` and `NAME-loss`.

    Args:
        name: kebab-case, beginning with a letter.
        folder: the new project's folder itself; it may exist if it is empty.

    Raises:
        ConfigError: the name can't be used, or the folder isn't empty. StorageError: it can't be written to.
    """
    words = _words(name)
    texts = {Template(path).substitute(words): _render(template, words) for path, template in _FILES.items()}
    _expect_empty(folder)
    written: list[Path] = []
    try:
        for path, text in texts.items():
            write_text(folder / path, text)
            written.append(folder / path)
    except BaseException:
        # Half a plugin would block the next attempt.
        _remove(folder, written)
        raise
    return written


def _words(name: str) -> dict[str, str]:
    """What the templates name, by placeholder."""
    short = name.removeprefix(PREFIX)
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", short) or len(short) > 40:
        usable = re.sub(r"[^a-z0-9]+", "-", short.lower()).strip("-0123456789")[:40].strip("-")
        example = f"for example {usable}" if usable else "for example heart-nets"
        raise ConfigError(
            f"{name!r} can't be a plugin's name.",
            f"Use at most 40 lower-case letters, digits and single hyphens, beginning with a letter: {example}.",
        )
    if short in _TAKEN:
        raise ConfigError(f"The name '{name}' is taken by cxrkit itself.", "Choose another one.")
    version = re.match(r"\d+\.\d+", __version__)
    return {
        "name": short,
        "distribution": f"{PREFIX}{short}",
        # The prefix also keeps the package's name from being a keyword or a standard module.
        "package": f"{PREFIX}{short}".replace("-", "_"),
        "class_name": "".join(word.capitalize() for word in short.split("-")),
        "cxrkit_version": version[0] if version and version[0] != "0.0" else "0.1",
    }


def _render(template: str, words: dict[str, str]) -> str:
    source = files("cxrkit.scaffold") / "templates" / f"{template}.tmpl"
    return Template(source.read_text(encoding="utf-8")).substitute(words)


def _expect_empty(folder: Path) -> None:
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"{folder} already exists and isn't an empty folder.", "Choose a new folder.")
    except OSError as error:
        raise storage_error(folder, error) from error


def _remove(folder: Path, written: list[Path]) -> None:
    for path in written:
        path.unlink(missing_ok=True)
    if folder.is_dir():
        for inner in sorted(folder.rglob("*"), reverse=True):
            if inner.is_dir() and not any(inner.iterdir()):
                inner.rmdir()
