"""What is counted of the calls to the exchange, between a runtime and its driver."""

from __future__ import annotations

import asyncio

from libs.bybit.measure import Measured
from libs.common.decider import Request
from libs.common.outside import Inbox, OutsideMessage
from libs.common.telemetry import Metrics

CREATE, ORDERS = "/v5/order/create", "/v5/order/realtime"


class Echo:
    """A driver without an exchange: the test answers through its inbox."""

    def __init__(self) -> None:
        self.failed: asyncio.Future[None] | None = None
        self.sent: list[int] = []
        self.cursor = self.at = 0
        self.inbox: Inbox

    async def start(self, inbox: Inbox, cursor: int = 0) -> None:
        self.inbox, self.cursor = inbox, cursor

    async def send(self, request: Request) -> None:
        self.sent.append(request.number)

    def set_time(self, at: int) -> None:
        self.at = at

    async def stop(self) -> None:
        self.cursor = -1


class Runtime:
    def __init__(self) -> None:
        self.got: list[tuple[list[OutsideMessage], int | None, int | None]] = []

    def put(self, messages: list[OutsideMessage], at: int | None = None, number: int | None = None) -> None:
        self.got.append((messages, at, number))


async def measured() -> tuple[Echo, Measured, Runtime, Metrics]:
    echo, runtime, metrics = Echo(), Runtime(), Metrics("execution")
    driver = Measured(echo, metrics)
    await driver.start(runtime, 7)
    return echo, driver, runtime, metrics


def reply(number: int, code: int, left: str = "", status: int = 200) -> OutsideMessage:
    headers = {"x-bapi-limit-status": left} if left else {}
    return OutsideMessage("reply", f'{{"retCode":{code},"retMsg":"","result":{{}},"time":1}}', number, status, headers)


def samples(metrics: Metrics) -> dict[str, float]:
    lines = [line for line in metrics.render().decode().splitlines() if "endpoint" in line and "_created" not in line]
    return {line.rpartition(" ")[0].removeprefix("trading_"): float(line.rpartition(" ")[2]) for line in lines}


async def test_requests_errors_and_what_is_left_by_endpoint():
    echo, driver, _, metrics = await measured()
    for number, target in enumerate((CREATE, CREATE, f"{ORDERS}?category=linear&orderLinkId=tg-1", CREATE, CREATE), 1):
        await driver.send(Request(number, "POST", target))
    echo.inbox.put(
        [reply(1, 0, "9"), reply(2, 110007, "8")]
    )  # accepted; refused for want of money: no error of the API
    echo.inbox.put([reply(3, 10006, "0"), reply(4, 10016), OutsideMessage("lost", "", 5)])
    assert samples(metrics) == {
        f'api_requests_total{{endpoint="{CREATE}"}}': 4,
        f'api_requests_total{{endpoint="{ORDERS}"}}': 1,
        f'rate_limit_remaining{{endpoint="{CREATE}"}}': 8,
        f'rate_limit_remaining{{endpoint="{ORDERS}"}}': 0,
        f'api_errors_total{{endpoint="{ORDERS}",ret_code="10006"}}': 1,
        f'api_errors_total{{endpoint="{ORDERS}",ret_code="lost"}}': 0,  # told before the first one
        f'api_errors_total{{endpoint="{CREATE}",ret_code="10016"}}': 1,
        f'api_errors_total{{endpoint="{CREATE}",ret_code="lost"}}': 1,
    }


async def test_a_page_that_is_no_envelope_is_counted_by_its_status():
    echo, driver, _, metrics = await measured()
    await driver.send(Request(1, "GET", ORDERS))
    echo.inbox.put([OutsideMessage("reply", "<html>", 1, 503)])
    assert samples(metrics)[f'api_errors_total{{endpoint="{ORDERS}",ret_code="http-503"}}'] == 1


async def test_an_answer_is_counted_once_and_frames_are_none():
    echo, driver, _, metrics = await measured()
    await driver.send(Request(1, "POST", CREATE))
    echo.inbox.put([reply(1, 10016), reply(1, 10016), OutsideMessage("private", "{}"), reply(99, 10016)])
    assert samples(metrics)[f'api_errors_total{{endpoint="{CREATE}",ret_code="10016"}}'] == 1


async def test_everything_passes_unchanged():
    echo, driver, runtime, _ = await measured()
    assert echo.cursor == 7
    messages = [reply(1, 0)]
    echo.inbox.put(messages, at=5, number=3)
    assert runtime.got == [(messages, 5, 3)]
    driver.set_time(11)
    await driver.send(Request(2, "GET", ORDERS))
    assert (echo.at, echo.sent) == (11, [2])
    echo.failed = asyncio.get_running_loop().create_future()
    assert driver.failed is echo.failed
    await driver.stop()
    assert echo.cursor == -1
