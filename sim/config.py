"""Section [sim] of the configuration."""

from __future__ import annotations

import msgspec

from sim.engine.account import AccountSpec


class SimConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The simulated exchange. Latencies in ms of exchange time, drawn for each request from the seed and its id."""

    window_ms: int = 1000
    """Length of an instant of a tape run."""
    latency_in_ms: tuple[int, int] = (20, 60)
    """From the request's arrival to the matching engine, least and most."""
    latency_out_ms: tuple[int, int] = (5, 20)
    """From the engine back: reply and frames."""
    leverage: int = 10
    """Of every position until set-leverage changes it."""
    rate_factor: int = 1
    """Request limits a second and open orders a symbol are Bybit's default level times this."""
    address_limit: int = 600
    """HTTP requests an address may make in 5 s, times rate_factor; more is 403 for 10 minutes. 0: no limit. Not on tapes."""
    unconfirmed_klines: bool = False
    """Push candles that are not closed yet, too (realtime)."""
    port: int = 0
    """Of REST and WebSocket, loopback; 0 takes a free one."""
    accounts_file: str = ""
    """JSON list of accounts (key, secret, usdt); empty: one account, key `sim`, secret `sim-secret`."""
    symbols: tuple[str, ...] = ()
    """Paper trading on live data: which symbols of the real exchange are traded here."""
    state_dir: str = ""
    """Realtime: where the exchange keeps its state over restarts; empty: nowhere."""
    depth: int = 8
    """Levels a side of the book where the tape brings none; `tidegate sim` shows 200."""
    script: str = ""
    """TOML file of operations of the exchange and when they happen on the tape: wicks, deposits, delistings (sim/script.py)."""
    spot: bool = False
    """Beside each perpetual trade its spot market, too; `tidegate sim` always does."""
    faults_file: str = ""
    """JSON file of faults that are on from the start (docs/simulator.md); empty: none."""
    usdt: str = "10000"
    """Opening balance of the default account."""


DEFAULT_ACCOUNTS = (AccountSpec(),)
