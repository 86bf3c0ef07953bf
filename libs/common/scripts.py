"""The Lua scripts of the bus: each runs with the rights of whoever calls it, so it can touch only keys that its caller may touch."""

from __future__ import annotations

import asyncio
from importlib import resources
from typing import Any

import hiredis

from libs.common.wire import Wire

NAMES = ("open", "commit", "command", "advance", "release", "settle")


def source(name: str) -> str:
    """The text of a script as it is loaded, with the helpers it needs."""
    folder = resources.files("libs.common") / "lua"
    helpers = (folder / "wave.lua").read_text() if name != "open" else ""
    return helpers + (folder / f"{name}.lua").read_text()


class Scripts:
    """The Lua scripts of one server, by name, loaded again when the server forgot them."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._sha: dict[str, bytes] = {}

    async def begin(self, name: str, keys: tuple[str, ...], *args: Any) -> asyncio.Future[Any]:
        """Send one call; the future is its reply. After a NOSCRIPT `forget` it and begin again."""
        if name not in self._sha:
            self._sha[name] = await self.wire.call("SCRIPT", "LOAD", source(name))
        (reply,) = await self.wire.send(("EVALSHA", self._sha[name], len(keys), *keys, *args))
        return reply

    async def run(self, name: str, keys: tuple[str, ...], *args: Any) -> Any:
        try:
            return await (await self.begin(name, keys, *args))
        except hiredis.ReplyError as e:
            if "NOSCRIPT" not in str(e):
                raise
            self.forget(name)
            return await self.run(name, keys, *args)

    def forget(self, name: str) -> None:
        """The server lost its scripts (it was restarted or flushed)."""
        self._sha.pop(name, None)
