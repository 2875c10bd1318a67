"""Let a checkout that isn't installed find its own plugins: write the metadata that an installation would have.

    python metadata.py FOLDER

writes FOLDER/cxrkit-VERSION.dist-info from pyproject.toml. With FOLDER, the checkout and its folder `plugins` on
PYTHONPATH, the checkout works as if it were installed, and nothing has to be built.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def write_metadata(folder: Path) -> Path:
    """Write name, version, requirements and entry points of this checkout; returns the new folder below `folder`."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    made = folder / f"{project['name']}-{project['version']}.dist-info"
    made.mkdir(parents=True, exist_ok=True)
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in project["dependencies"]]
    (made / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
    groups = {"console_scripts": project["scripts"]} | project["entry-points"]
    text = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items()) + "\n"
        for group, points in groups.items()
    )
    (made / "entry_points.txt").write_text(text, encoding="utf-8")
    return made


if __name__ == "__main__":
    write_metadata(Path(sys.argv[1]))
