"""The command, as the command line calls it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from cxrkit_example_plugin.agreement import dice
from PIL import Image


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cxrkit", "agreement", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _write(folder: Path, name: str, mask: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    Image.fromarray(255 * mask.astype(np.uint8)).save(folder / name)


def test_dice_by_hand() -> None:
    first, second = np.zeros((2, 4, 4), dtype=bool)
    assert dice(first, second) == 1
    first[0, :2] = second[0, 1:3] = True
    assert dice(first, second) == 0.5


def test_masks_of_one_name_are_compared(tmp_path: Path) -> None:
    mask = np.eye(8, dtype=bool)
    _write(tmp_path / "a", "film.png", mask)
    _write(tmp_path / "b", "film.png", mask)
    _write(tmp_path / "b", "other.png", mask)
    done = _run(tmp_path / "a", tmp_path / "b", "--json")
    assert json.loads(done.stdout) == {"film.png": 1.0}


def test_without_common_films_it_says_what_to_do(tmp_path: Path) -> None:
    done = _run(tmp_path, tmp_path)
    assert done.returncode == 3
    assert "no PNG files of the same name" in done.stderr
    assert "Traceback" not in done.stderr
