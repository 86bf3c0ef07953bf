"""`tidegate operator keygen`: the key with which an operator signs."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cli.context import say
from cli.signing import write_key
from libs.common.errors import UsageError
from libs.common.seal import generate


def keygen(
    name: Annotated[str, Parameter(name="NAME", help="The operator, as the log shall name him.")],
    *,
    out: Annotated[Path | None, Parameter(help="Private key file, mode 0400 (default: NAME.key).")] = None,
    passphrase: Annotated[bool, Parameter(negative="", help="Ask for a passphrase that locks the file.")] = False,
) -> int:
    """A fresh Ed25519 key pair: the private half into a file of its owner, the public half as a line for the settings."""
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise UsageError(f"expected a name of letters, digits, '.', '-' and '_', was {name!r}")
    path = out or Path(f"{name}.key")
    private, public = generate()
    write_key(path, private, _chosen() if passphrase else "")
    say(f"{path} is yours alone; everybody may know this, so put it into the settings of risk and signal:")
    print(f'[risk.operator_keys]\n"{name}" = "{public}"\n\n[signal.operator_keys]\n"{name}" = "{public}"')
    return 0


def _chosen() -> str:
    first = getpass.getpass("passphrase: ")
    if not first or first != getpass.getpass("again: "):
        raise UsageError("expected the same passphrase twice, was none or two; nothing is written, try again")
    return first
