"""Structured logs on stderr: one JSON object a line, or readable lines when a person looks at a terminal.

Secrets are removed twice: `SecretStr` values are masked where they enter, and every rendered line is searched for the
values that were registered, in the spellings in which they may hide (JSON, percent and base64 encoding). Logs of
libraries and uncaught exceptions take the same way out.
"""

from __future__ import annotations

import base64
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, TextIO
from urllib.parse import quote

import msgspec
import structlog
from pydantic import SecretBytes, SecretStr

MASK = "********"
SHORTEST_SECRET = 6
"""Registering something shorter would mask ordinary words."""

_spellings: tuple[str, ...] = ()


def guard(*secrets: str | SecretStr) -> None:
    """Register values that must never be written; anything under 6 characters is ignored."""
    global _spellings
    found = set(_spellings)
    for secret in secrets:
        value = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
        if len(value.strip()) < SHORTEST_SECRET:
            continue
        for form in (value, value.strip()):
            found |= {form, json.dumps(form)[1:-1], repr(form)[1:-1], quote(form, safe="")}
            found.add(base64.b64encode(form.encode()).decode().rstrip("="))
    # longest first: a spelling that holds another one goes as a whole
    _spellings = tuple(sorted(found, key=len, reverse=True))


def forget_secrets() -> None:
    """Drop every registered value (tests)."""
    global _spellings
    _spellings = ()


def redact(text: str) -> str:
    """`text` without any registered secret."""
    for spelling in _spellings:
        if spelling in text:
            text = text.replace(spelling, MASK)
    return text


def mask_secrets(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """structlog processor: SecretStr and SecretBytes become a mask, however deep they lie."""
    return {key: value if key == "exc_info" else _masked(value) for key, value in event.items()}


def _masked(value: Any) -> Any:
    if isinstance(value, SecretStr | SecretBytes):
        return MASK
    if isinstance(value, Mapping):
        return {key: _masked(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(inner) for inner in value]
    return value


def redact_line(_logger: Any, _method: str, line: Any) -> str:
    """structlog processor, last: takes registered secrets out of the rendered line."""
    return redact(str(line))


def _to_json(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


def configure(
    service: str, *, level: str = "info", secrets: Iterable[str | SecretStr] = (), out: TextIO | None = None
) -> None:
    """Set logging up for this process: structlog, the standard library's loggers and uncaught exceptions.

    `level`: debug, info, warning, error. `out` defaults to stderr.
    """
    guard(*secrets)
    stream = out if out is not None else sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _namer(service),
        mask_secrets,
    ]
    last = _renderers(stream.isatty())
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    _adopt_standard_logging(stream, level, shared, last)
    sys.excepthook = _log_crash
    threading.excepthook = lambda args: _log_crash(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)


def _renderers(terminal: bool) -> list[structlog.typing.Processor]:
    if terminal:
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback), redact_line]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_to_json), redact_line]


def _namer(service: str) -> Callable[[Any, str, structlog.typing.EventDict], structlog.typing.EventDict]:
    def name(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.setdefault("service", service)
        return event

    return name


def _adopt_standard_logging(
    stream: TextIO, level: str, shared: list[structlog.typing.Processor], last: list[structlog.typing.Processor]
) -> None:
    """Libraries log through `logging`; their lines get the same fields and the same redaction, warnings and worse only."""
    handler = logging.StreamHandler(stream)
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[strip, *last]))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    get().error("crashed", exc_info=(kind, error, trace))


def get(**fields: Any) -> Any:
    """A logger; `fields` go on each of its lines."""
    return structlog.get_logger(**fields)


def bind(**fields: Any) -> None:
    """Put fields (correlation, symbol, ...) on every line of the current task until `unbind`."""
    structlog.contextvars.bind_contextvars(**fields)


def unbind(*names: str) -> None:
    structlog.contextvars.unbind_contextvars(*names)
