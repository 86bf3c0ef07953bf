"""Logs are structured, and a registered secret never leaves the process, whichever way it tries."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import structlog
from pydantic import SecretStr

from libs.common import logs

CANARY = 'cAnAry/"s3cret"+=\\'


SENTENCE = f"the key is {CANARY}"


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root, hooks = logging.getLogger(), (sys.excepthook, threading.excepthook)
    handlers, level = root.handlers, root.level
    logs.configure("risk", level="debug", secrets=(CANARY,), out=stream)
    yield stream
    structlog.reset_defaults()
    logs.forget_secrets()
    root.handlers, root.level = handlers, level
    sys.excepthook, threading.excepthook = hooks


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_service(out: io.StringIO) -> None:
    logs.bind(correlation="abc")
    logs.get(part="x").info("order sent", qty=3)
    logs.unbind("correlation")
    (line,) = lines(out)
    assert {k: line[k] for k in ("event", "service", "level", "qty", "part", "correlation")} == {
        "event": "order sent",
        "service": "risk",
        "level": "info",
        "qty": 3,
        "part": "x",
        "correlation": "abc",
    }
    assert str(line["timestamp"]).endswith("Z")


@pytest.mark.parametrize(
    "attempt",
    [
        lambda log: log.info(SENTENCE),
        lambda log: log.info("x", key=CANARY),
        lambda log: log.info("x", key={"deep": [{"er": CANARY}]}),
        lambda log: log.info("x", key=CANARY.encode()),
        lambda log: log.info("x", url="https://x/?key=" + quote(CANARY, safe="")),
        lambda log: log.info("x", key=SecretStr(CANARY)),
        lambda log: log.info("x", key=[SecretStr("never registered, masked by its type")]),
        lambda log: logging.getLogger("lib").warning("key %s", CANARY),
    ],
)
def test_the_canary_is_masked(out: io.StringIO, attempt: object) -> None:
    assert callable(attempt)
    attempt(logs.get())
    text = out.getvalue()
    assert logs.MASK in text or "**" in text
    for spelling in (CANARY, json.dumps(CANARY)[1:-1], json.dumps(json.dumps(CANARY)[1:-1])[1:-1], "never registered"):
        assert spelling not in text
    assert "s3cret" not in text


def test_the_canary_is_masked_in_a_traceback(out: io.StringIO) -> None:
    try:
        raise ValueError(CANARY)
    except ValueError:
        logs.get().exception("failed")
    (line,) = lines(out)
    assert "ValueError" in str(line["exception"])
    assert "s3cret" not in out.getvalue()


def test_a_crash_is_logged_without_the_canary() -> None:
    program = (
        f"from libs.common import logs\nlogs.configure('risk', secrets=({CANARY!r},))\nraise RuntimeError({CANARY!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    line = json.loads(done.stderr)
    assert line["event"] == "crashed"
    assert "RuntimeError" in line["exception"]
    assert "s3cret" not in done.stderr + done.stdout


def test_short_values_are_not_taken_for_secrets(out: io.StringIO) -> None:
    logs.guard("", "abc", "     ")
    logs.get().info("abc def")
    assert lines(out)[0]["event"] == "abc def"


def test_level_and_libraries_chatter(out: io.StringIO) -> None:
    logging.getLogger("lib").info("chatter")
    assert out.getvalue() == ""
    logging.getLogger("lib").error("trouble")
    assert lines(out)[0]["event"] == "trouble"


def test_a_person_gets_readable_lines() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    root, hooks = logging.getLogger(), (sys.excepthook, threading.excepthook)
    handlers, level = root.handlers, root.level
    logs.configure("risk", secrets=(CANARY,), out=stream)
    logs.get().info("hello", key=CANARY)
    structlog.reset_defaults()
    logs.forget_secrets()
    root.handlers, root.level = handlers, level
    sys.excepthook, threading.excepthook = hooks
    assert "hello" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
    assert "s3cret" not in stream.getvalue()
