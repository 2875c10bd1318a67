"""Print a command of the README: the shell block that follows `<!-- command: NAME -->`.

python docs/readme_commands.py train
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def command(name: str, text: str) -> str:
    """The block's text.

    Raises:
        SystemExit: the README has no such block.
    """
    found = re.search(rf"<!-- command: {re.escape(name)} -->\s*```(?:bash|sh)\n(.*?)```", text, re.DOTALL)
    if found is None:
        raise SystemExit(f"README.md has no command '{name}'.")
    return found[1].strip()


if __name__ == "__main__":
    print(command(sys.argv[1], README.read_text(encoding="utf-8")))
