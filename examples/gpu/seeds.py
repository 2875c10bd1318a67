"""How many seeds the plan of an ablation's folder has: `python seeds.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from cxrkit.ablation.plan import read_plan

print(len(read_plan(Path(sys.argv[1]) / "ablation.yaml").seeds))
