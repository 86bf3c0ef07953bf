"""Third-party clients, unmodified, in environments of their own; each test is skipped where its client is not installed.

TIDEGATE_CCXT_PYTHON    a Python that has ccxt
TIDEGATE_NODE_MODULES   a node_modules that has bybit-api
TIDEGATE_FREQTRADE      the freqtrade command
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simprocess import Process, wait_price
from tests.waiting import eventually

CLIENTS = Path(__file__).parents[1] / "clients"
STRATEGY = """
from freqtrade.strategy import IStrategy


class Always(IStrategy):
    INTERFACE_VERSION = 3
    timeframe, can_short, startup_candle_count = "1m", True, 5
    minimal_roi, stoploss = {"0": 10}, -0.05
    order_types = {"entry": "market", "exit": "market", "stoploss": "market", "stoploss_on_exchange": True}

    def populate_indicators(self, frame, metadata):
        return frame

    def populate_entry_trend(self, frame, metadata):
        frame["enter_long"] = 1
        return frame

    def populate_exit_trend(self, frame, metadata):
        return frame

    def custom_exit(self, pair, trade, current_time, current_rate, current_profit, **more):
        return "time" if (current_time - trade.open_date_utc).total_seconds() > 5 else None

    def leverage(self, *args, **more):
        return 3.0
"""


@pytest.fixture
def process() -> Iterator[Process]:
    process = Process()
    wait_price(process)
    yield process
    process.end(signal.SIGTERM)


def client(variable: str) -> str:
    """Where a client is, or the test is skipped."""
    place = os.environ.get(variable, "")
    if not place:
        pytest.skip(f"{variable} names no installed client")
    return place


def run(command: list[str], **environment: str) -> str:
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=110, check=False, env={**os.environ, **environment}
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    return ended.stdout


def test_ccxt(process: Process) -> None:
    python = client("TIDEGATE_CCXT_PYTHON")
    assert "all as expected" in run([python, str(CLIENTS / "ccxt_session.py"), process.url])


def test_the_node_sdk(process: Process) -> None:
    modules, node = client("TIDEGATE_NODE_MODULES"), shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    assert "all as expected" in run([node, str(CLIENTS / "node_session.cjs"), process.url], NODE_PATH=modules)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_freqtrade_trades_live(process: Process, tmp_path: Path) -> None:
    """It starts, buys, sets its stop on the exchange, exits, and finds itself closed."""
    command = client("TIDEGATE_FREQTRADE")
    (tmp_path / "data").mkdir()
    (tmp_path / "always.py").write_text(STRATEGY)
    socket = process.url.replace("http", "ws")
    sockets = {
        "public": {"linear": f"{socket}/v5/public/linear", "spot": f"{socket}/v5/public/spot"},
        "private": {"contract": f"{socket}/v5/private", "trade": f"{socket}/v5/trade"},
    }
    names = ("spot", "futures", "v2", "public", "private")
    addresses = {"urls": {"api": dict.fromkeys(names, process.url) | {"ws": sockets}}}
    config = {
        "max_open_trades": 1, "stake_currency": "USDT", "stake_amount": 300, "dry_run": False, "trading_mode": "futures",
        "margin_mode": "isolated", "unfilledtimeout": {"entry": 1, "exit": 1, "unit": "minutes"},
        "entry_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
        "exit_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
        "exchange": {"name": "bybit", "key": "sim", "secret": "sim-secret", "ccxt_config": addresses,
                     "ccxt_async_config": addresses, "pair_whitelist": ["BTC/USDT:USDT"], "pair_blacklist": []},
        "pairlists": [{"method": "StaticPairList"}], "bot_name": "bot", "initial_state": "running",
        "internals": {"process_throttle_secs": 2}, "db_url": f"sqlite:///{tmp_path}/trades.sqlite",
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    flags = ["-c", "config.json", "-s", "Always", "--strategy-path", ".", "--userdir", "."]
    with (tmp_path / "output.txt").open("w") as output:
        bot = subprocess.Popen([command, "trade", *flags], cwd=tmp_path, stdout=output, stderr=subprocess.STDOUT)
    try:
        eventually(
            lambda: {fill["side"] for fill in listed(process, "execution/list")} == {"Buy", "Sell"}, within_s=200
        )
    finally:
        bot.kill()
        bot.wait(20)
    assert "Stop" in {
        order["stopOrderType"] for order in listed(process, "order/history") + listed(process, "order/realtime")
    }
    assert re.search(r" - ERROR - ", (tmp_path / "output.txt").read_text()) is None


def listed(process: Process, path: str) -> list[dict[str, str]]:
    return list(process.get(f"/v5/{path}", "category=linear&symbol=BTCUSDT")["result"]["list"])
