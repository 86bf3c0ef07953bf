"""`python -m cli.keys DIRECTORY` or `--kubernetes`: the fresh keys of a paper deployment, each reader's in a place of its own.

Risk alone gets the private seal key; execution gets its public half and the key of its account at the simulator; the
simulator gets the same account; whoever operates gets the key that signs a resume. Each gets the password of its own user of the
bus, whose server gets the access list with their hashes. In containers each place is a volume,
in Kubernetes a Secret; a live deployment brings its own files of the same names.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from cli.rundir import KEY_ID, OPERATOR, write_secret
from libs.common.access import ADMIN, TOOLS, access_list, roles
from libs.common.errors import TidegateError, UsageError
from libs.common.seal import generate
from libs.common.streams import MONITOR, OPERATORS, SERVICES, TRAINER, WATCHDOG

Files = dict[str, str]
"""Text by path below the reader's place."""

ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CONFLICT = 409


LOGINS = {MONITOR: (MONITOR, TOOLS, OPERATORS), "operator": (TOOLS, OPERATORS, TRAINER, ADMIN)}
"""Who has more than its own login: monitor's container has the verbs that look and halt, an operator trains and restores."""

OPEN_FILES = ("users.acl",)
"""Files that hold no secret; the bus reads them as a user of its own."""


def make_keys(book: str = "main") -> dict[str, Files]:
    """Files by reader: the services, sim, operator, redis. What lies under `settings/` is read as settings of its section."""
    passwords = {role: secrets.token_hex(24) for role in roles(tape=False, admin=True)}
    found = _signing_keys()
    for reader in (*SERVICES, WATCHDOG, "operator"):
        mine = {f"bus/{role}": f"{passwords[role]}\n" for role in LOGINS.get(reader, (reader,))}
        found[reader] = found.get(reader, {}) | mine
    return found | {"redis": {"users.acl": access_list(book, passwords, tape=False)}}


def _signing_keys() -> dict[str, Files]:
    seal, seal_public = generate()
    operator, operator_public = generate()
    account, second = ({"key": f"sim-{secrets.token_hex(6)}", "secret": secrets.token_hex(24)} for _ in range(2))
    return {
        "risk": {"seal.key": f"{seal}\n", "settings/risk/operator_keys": json.dumps({OPERATOR: operator_public})},
        "execution": {
            "venue.json": json.dumps(account) + "\n",
            "settings/execution/seal_keys": json.dumps({KEY_ID: seal_public}),
        },
        WATCHDOG: {"watchdog.json": json.dumps(second) + "\n"},
        "sim": {"accounts.json": json.dumps([account, {**second, "account": account["key"]}]) + "\n"},
        "operator": {"operator.key": f"{operator}\n"},
    }


def write_files(directory: Path) -> bool:
    """One folder a reader, mode 0600 where there is a secret. Keys that are there stay; False then. Raises UsageError when only some are."""
    found = make_keys()
    paths = {directory / reader / name: text for reader, files in found.items() for name, text in files.items()}
    present = [path for path in paths if path.exists()]
    if len(present) == len(paths):
        return False
    if present:
        raise UsageError(f"expected all keys in {directory} or none, was only {present[0]}; empty it and try again")
    for path, text in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_secret(path, text, 0o644 if path.name in OPEN_FILES else 0o600)
    return True


Ask = Callable[[str, str, bytes | None], int]
"""(method, path, body) -> HTTP status of the cluster's API."""


def write_secrets(ask: Ask, namespace: str) -> bool:
    """Secrets tidegate-<reader>, `/` in a name as `.`. All there already: False. Only some: those go, and it says try again."""
    base = f"/api/v1/namespaces/{namespace}/secrets"
    answers = {reader: ask("POST", base, _secret(reader, files)) for reader, files in make_keys().items()}
    wrong = {reader: status for reader, status in answers.items() if status not in (200, 201, CONFLICT)}
    kept = [reader for reader, status in answers.items() if status == CONFLICT]
    if not wrong and not kept:
        return True
    if not wrong and len(kept) == len(answers):
        return False
    for reader in answers:  # halves of different key pairs would never fit
        ask("DELETE", f"{base}/tidegate-{reader}", None)
    raise TidegateError(f"expected to make all secrets or none, was {answers}; they are deleted, try again")


def _secret(reader: str, files: Mapping[str, str]) -> bytes:
    labels = {"app.kubernetes.io/part-of": "tidegate", "app.kubernetes.io/managed-by": "tidegate-keys"}
    data = {name.replace("/", "."): base64.b64encode(text.encode()).decode() for name, text in files.items()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"tidegate-{reader}", "labels": labels}}
    return json.dumps(body | {"type": "Opaque", "data": data}).encode()


def cluster(account: Path = ACCOUNT_FOLDER) -> tuple[Ask, str]:
    """The API of the cluster this pod runs in, as its service account, and the pod's namespace."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise UsageError("expected to run in a pod (KUBERNETES_SERVICE_HOST is not set); name a directory instead")
    address = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    trust = ssl.create_default_context(cafile=str(account / "ca.crt"))
    token = (account / "token").read_text().strip()

    def ask(method: str, path: str, body: bytes | None) -> int:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(address + path, body, headers, method=method)  # noqa: S310 - https, as built above
        try:
            with urllib.request.urlopen(request, timeout=10, context=trust) as response:  # noqa: S310 - as above
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError as error:
            raise TidegateError(f"expected the cluster's API at {address}, could not reach it: {error}") from error

    return ask, (account / "namespace").read_text().strip()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cli.keys", description="fresh keys of a paper deployment")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("directory", nargs="?", type=Path)
    where.add_argument("--kubernetes", action="store_true", help="as Secrets of the namespace this pod runs in")
    given = parser.parse_args()
    try:
        made = write_secrets(*cluster()) if given.kubernetes else write_files(given.directory)
    except TidegateError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print("keys made" if made else "keys are there already; left alone", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
