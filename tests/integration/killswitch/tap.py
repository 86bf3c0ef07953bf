"""A tap on the line between execution and the exchange's REST: it passes bytes on and notes when a cancel came by."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time

CANCEL = b"POST /v5/order/cancel"
LINK = re.compile(rb'"orderLinkId":"([^"]+)"')


class Tap:
    """Listens on a free port of loopback for `upstream` (http://host:port)."""

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.removeprefix("http://").partition(":")
        self._upstream = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cancels: dict[str, int] = {}
        """When (ns) the first cancel of an order came by, by its link id."""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                for line in (client, server):
                    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _noted(self, data: bytes) -> bytes:
        """What of a request is to be looked at again with what follows: its body may come by itself."""
        _, found, rest = data.partition(CANCEL)
        if not found:
            return b""
        named = LINK.search(rest)
        if named is None:
            return found + rest
        self.cancels.setdefault(named[1].decode(), time.time_ns())
        return b""

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        held = b""
        with contextlib.suppress(OSError):  # one side is gone
            while data := source.recv(1 << 16):
                held = self._noted(held + data)
                sink.sendall(data)
        for line in (source, sink):  # the other direction's thread ends too, and closes its own
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        source.close()
