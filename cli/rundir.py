"""The directory of one run: its resolved config.toml, its keys, and where everything else will lie."""

from __future__ import annotations

import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from cli.toml import dumps
from libs.common.errors import UsageError
from libs.common.settings import Settings

SEAL_KEY, OPERATOR_KEY, VENUE_KEY = "keys/seal.key", "keys/operator.key", "keys/venue.json"
WATCHDOG_KEY, ARCHIVE_KEY = "keys/watchdog.json", "keys/archive.key"
SIM_ACCOUNTS = "keys/accounts.json"
PASSWORDS = "keys/bus"
KEY_ID, OPERATOR = "run", "operator"
CONFIG = "config.toml"


def default_run_dir(seed: int) -> Path:
    """`runs/<UTC stamp>-seed<N>`, which does not exist yet."""
    return Path("runs") / f"{datetime.now(UTC).strftime('%Y-%m-%dT%H%M%SZ')}-seed{seed}"


def make_run_dir(directory: Path) -> Path:
    """Make the directory, or take an empty one. Raises UsageError for anything else."""
    if directory.exists():
        if not directory.is_dir():
            raise UsageError(f"expected {directory} to be a directory, was a file; name another with --run-dir")
        if any(directory.iterdir()):
            raise UsageError(
                f"expected an empty run directory, was {directory} with files in it; name another with --run-dir"
            )
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as e:
        raise UsageError(f"cannot make the run directory {directory}: {e.strerror}; name another with --run-dir") from e
    return directory.resolve()


def write_keys(run_dir: Path) -> dict[str, object]:
    """Fresh keys of this run, readable by its owner alone: risk's seal, the operator's seal, the archive's
    signature, an account at the simulator.

    Returns the settings that name them, by dotted key.
    """
    from libs.common.seal import generate

    (run_dir / "keys").mkdir(mode=0o700)
    public: dict[str, str] = {}
    for name in (SEAL_KEY, OPERATOR_KEY, ARCHIVE_KEY):
        private, public[name] = generate()
        write_secret(run_dir / name, private + "\n")
    for name in (VENUE_KEY, WATCHDOG_KEY):
        account = {"key": f"sim-{secrets.token_hex(6)}", "secret": secrets.token_hex(24)}
        write_secret(run_dir / name, json.dumps(account) + "\n")
    return {
        "sim.accounts_file": SIM_ACCOUNTS,
        "run.seal_key_file": SEAL_KEY,
        "run.seal_key_id": KEY_ID,
        "run.operator": OPERATOR,
        "run.operator_key_file": OPERATOR_KEY,
        "monitor.archive_key_file": ARCHIVE_KEY,
        "venue.key_file": VENUE_KEY,
        "watchdog.key_file": WATCHDOG_KEY,
        "execution.seal_keys": {KEY_ID: public[SEAL_KEY]},
        "risk.operator_keys": {OPERATOR: public[OPERATOR_KEY]},
        "signal.operator_keys": {OPERATOR: public[OPERATOR_KEY]},
    }


def write_accounts(run_dir: Path, settings: Settings) -> None:
    """The simulator's side of the account: its two keys, and its opening balance."""
    account, second = (json.loads((run_dir / name).read_text()) for name in (VENUE_KEY, WATCHDOG_KEY))
    opening = str(settings.values()["sim"].get("usdt", "10000"))
    keys = [{**account, "usdt": opening}, {**second, "account": account["key"]}]
    write_secret(run_dir / SIM_ACCOUNTS, json.dumps(keys) + "\n")


def write_passwords(run_dir: Path, settings: Settings) -> str:
    """Fresh passwords of the run's own bus, a file a role. Returns the server's access list."""
    from libs.common.access import access_list, roles

    tape = settings.run.mode == "tape"
    passwords = {role: secrets.token_hex(24) for role in roles(tape=tape, admin=False)}
    (run_dir / PASSWORDS).mkdir(mode=0o700)
    for role, password in passwords.items():
        write_secret(run_dir / PASSWORDS / role, password + "\n")
    return access_list(settings.bus.book, passwords, tape=tape)


def write_secret(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a new file that has its mode from its first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)


def write_config(run_dir: Path, settings: Settings) -> Path:
    """The settings that are actually used, every value spelt out."""
    path = run_dir / CONFIG
    note = "# The settings of this run as resolved when it started (defaults, file, environment, command line).\n"
    write_secret(path, note + dumps(settings.values()))
    return path


def config_of(run_dir: Path) -> Path:
    """config.toml of a run. Raises UsageError when the directory is not one of a run."""
    path = run_dir / CONFIG
    if not path.is_file():
        raise UsageError(f"expected a run directory with {CONFIG}, was {run_dir}; name one under runs/")
    return path
