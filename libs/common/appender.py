"""Appending to a stream as somebody who is no service and keeps no journal: an operator, the watchdog, the trainer."""

from __future__ import annotations

import hashlib

import msgspec

from libs.common import streams
from libs.common.events import Command, Event
from libs.common.scripts import Scripts
from libs.common.seal import sealed_bytes
from libs.common.wire import Wire


async def append_command(wire: Wire, book: str, command: Command, at: int) -> str | None:
    """Append an operator's command; returns its entry id, or None when its nonce was seen before.

    `at`: ns, tape time in a tape run, where the command waits for the next wave; elsewhere the server's own clock counts. The id
    is derived from the command itself.
    """
    return await _append(wire, book, "command", streams.OPERATORS, command, command.nonce, sealed_bytes(command), at)


async def append(wire: Wire, book: str, writer: str, event: Event, nonce: str, at: int) -> str | None:
    """Append an event of a writer that is no service and has one stream; a repeated nonce changes nothing and gives None."""
    identified = nonce.encode() + msgspec.json.encode(event)
    return await _append(wire, book, streams.stream_of(type(event), writer), writer, event, nonce, identified, at)


async def _append(
    wire: Wire, book: str, stream: str, writer: str, event: Event, nonce: str, identified: bytes, at: int
) -> str | None:
    identity = hashlib.blake2b(identified, digest_size=16).hexdigest()
    parent = f"00-{identity}-{identity[:16]}-01"
    kind = type(event)
    waves = (streams.WAVE, streams.stage_key(writer)) if writer in streams.STAGERS else ()
    keys = (streams.key(stream, book), streams.service_key("cursor", writer, book), *waves)
    body = msgspec.json.encode(event)
    answer = await Scripts(wire).run(
        "command", keys, nonce, at // 1_000_000, kind.__name__, kind.VERSION, at, body, identity, parent
    )
    return answer[1].decode() if answer[0] == b"OK" else None
