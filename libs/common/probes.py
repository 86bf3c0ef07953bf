"""What Kubernetes and Prometheus ask a service: `/livez`, `/readyz`, `/metrics`, on a port of their own.

They are served inside the service's own loop, so a loop that is stuck does not answer. `/livez` looks at nothing but
the age of the last step: an outage of Redis must not restart a pod that has orders under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from libs.common.errors import TidegateError
from libs.common.telemetry import Metrics, write_atomically

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Probes:
    """One service's probes. Call `beat()` after every step, idle rounds included, and `set_ready` when that changes."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        run_dir: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        max_step_age_s: float = 30.0,
    ) -> None:
        self.metrics = metrics
        self.port = 0
        self._host, self._wanted = host, port
        self._max_age = max_step_age_s
        self._port_file = run_dir / "ports" / f"{metrics.service}.port" if run_dir else None
        self._beat_at = time.monotonic()
        self._ready, self._reason = False, "starting"
        self._server: Any = None
        self._task: asyncio.Task[None] | None = None

    def beat(self) -> None:
        self._beat_at = time.monotonic()

    def set_ready(self, ready: bool, reason: str = "") -> None:
        """`reason` says why not; shown as JSON by /readyz."""
        self._ready, self._reason = ready, reason
        self.metrics["ready"].set(float(ready), self.metrics.service)

    async def start(self) -> int:
        """Listen and return the port; `ports/<service>.port` in the run directory names it too.

        Raises TidegateError when the address cannot be had.
        """
        import uvicorn  # here, not above: 15 MB that a replay or a backtest has no use for

        listener = self._bind()
        config = uvicorn.Config(self._app(), log_config=None, access_log=False, lifespan="off", http="h11", ws="none")
        self._server = _quiet(uvicorn.Server)(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="probes")
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise TidegateError(f"expected probes on {self._host}:{self._wanted}, but the server ended at once")
            await asyncio.sleep(0)
        self.port = int(listener.getsockname()[1])
        if self._port_file:
            write_atomically(self._port_file, f"{self.port}\n".encode())
        return self.port

    async def stop(self) -> None:
        if self._task is None:
            return
        self._server.should_exit = True
        self._server.force_exit = True  # a scraper's idle connection must not hold a service up
        await self._task
        self._task = None
        if self._port_file:
            self._port_file.unlink(missing_ok=True)

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._wanted))
        except OSError as e:
            listener.close()
            raise TidegateError(
                f"expected probes on {self._host}:{self._wanted}, was refused ({e}); set telemetry.probes_port"
            ) from e
        return listener

    def _app(self) -> Any:
        from starlette.applications import Starlette
        from starlette.routing import Route

        routes = [Route("/livez", self._livez), Route("/readyz", self._readyz), Route("/metrics", self._metrics)]
        return Starlette(routes=routes)

    async def _livez(self, _request: Request) -> Response:
        age = time.monotonic() - self._beat_at
        body = {"alive": age <= self._max_age, "last_step_age_seconds": round(age, 3)}
        return _answer(body, 200 if body["alive"] else 503)

    async def _readyz(self, _request: Request) -> Response:
        return _answer({"ready": self._ready, "reason": self._reason}, 200 if self._ready else 503)

    async def _metrics(self, _request: Request) -> Response:
        from starlette.responses import Response

        return Response(self.metrics.render(), media_type=TEXT)


def _answer(body: dict[str, Any], status: int) -> Response:
    from starlette.responses import Response

    return Response(msgspec.json.encode(body), status, media_type="application/json")


def _quiet(server: Any) -> Any:
    """uvicorn's server, leaving the signal handlers to the service it lives in."""

    class Quiet(server):  # type: ignore[misc]  # the base is known at run time only, for the lazy import
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Quiet
