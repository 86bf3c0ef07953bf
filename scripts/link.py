"""Make the packages of this checkout importable, and `tidegate` runnable, in the environment that runs this script.

What `pip install --editable` would do, without a build backend: it needs no registry and leaves nothing in the tree.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMAND = """#!/bin/sh
'''exec' "{python}" -I "$0" "$@"
' '''
import sys

from cli.main import main

sys.exit(main())
"""
"""A shell line in front, since the first line of a script is cut where a path is long."""


def main() -> None:
    (Path(sysconfig.get_path("purelib")) / "tidegate.pth").write_text(f"{ROOT}\n")
    command = Path(sysconfig.get_path("scripts")) / "tidegate"
    command.write_text(COMMAND.format(python=sys.executable))
    command.chmod(0o755)


if __name__ == "__main__":
    main()
