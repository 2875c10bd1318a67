"""Check that a wheel holds what users need and nothing else.

python docs/check_wheel.py dist/cxrkit-0.1.0-py3-none-any.whl
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

NEEDED = (
    "cxrkit/py.typed",
    "cxrkit_plugins/py.typed",
    "cxrkit_clinic/py.typed",
    "cxrkit_clinic/server/page/index.html",
    "cxrkit_clinic/server/page/app.js",
    "cxrkit/cli/app.py",
    "cxrkit_plugins/models/attn_bcdu.py",
    "cxrkit_plugins/weights/lungs_heart.safetensors",
    "cxrkit_plugins/weights/lungs_heart.md",
    "cxrkit/report/ablation/page.html.jinja",
    "cxrkit/presets/small-data.yaml",
)
OURS = ("cxrkit", "cxrkit_plugins", "cxrkit_clinic")
LARGEST_BYTES = 9_000_000


def faults(wheel: Path) -> list[str]:
    """What is wrong with a wheel, a line each."""
    names = zipfile.ZipFile(wheel).namelist()
    source = Path(__file__).resolve().parents[1]
    templates = [str(p.relative_to(source)) for p in (source / "cxrkit").rglob("*.tmpl")]
    found = [f"missing: {name}" for name in (*NEEDED, *templates) if name not in names]
    tops = {name.split("/")[0] for name in names}
    strangers = {
        top
        for top in tops
        if top not in ("cxrkit", "cxrkit_plugins", "cxrkit_clinic") and not top.endswith(".dist-info")
    }
    found += [f"not ours: {top}" for top in sorted(strangers)]
    if not any(name.endswith("entry_points.txt") for name in names):
        found.append("missing: entry points")
    if wheel.stat().st_size > LARGEST_BYTES:
        found.append(f"too large: {wheel.stat().st_size} bytes")
    return found


if __name__ == "__main__":
    given = Path(sys.argv[1])
    wheels = sorted(given.glob("*.whl")) if given.is_dir() else [given]
    wrong = [f"{wheel.name}: {fault}" for wheel in wheels for fault in faults(wheel)]
    if wrong or not wheels:
        raise SystemExit("\n".join(wrong) or f"{given}: no wheel")
    print("wheel: all there")
