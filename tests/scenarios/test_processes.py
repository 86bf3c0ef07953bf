"""Scenarios of processes and of the server: the five services, the simulator and Redis as they run, struck by signals."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from libs.common.events import OrderIntent, OrderSubmitted
from libs.common.streams import RISK, SERVICES
from tests.scenarios.aftermath import concluded, settled
from tests.scenarios.checks import ALERT_S
from tests.scenarios.system import System

pytestmark = pytest.mark.timeout(300)
STRIKES = 60
"""That one system takes before it is ended, archived and replayed."""
FENCED = 75


class Hall:
    """The system that is struck: started when it is asked for, another one after so many strikes, and after one that failed."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._system: System | None = None
        self._strikes = 0

    @contextmanager
    def struck(self, seed: int) -> Iterator[System]:
        """The system at work; afterwards everything is checked that happened since."""
        system = self._system or self._started(seed)
        system.rested()
        system.witness.look()
        mark, now = len(system.witness.log), time.time_ns()
        try:
            yield system
            settled(system, now, mark)
        except BaseException:
            self._system = None
            system.close()
            raise
        self._strikes += 1
        if self._strikes == STRIKES:
            self.end()

    def _started(self, seed: int) -> System:
        system = System(self._factory.mktemp("system") / "run", seed)
        try:
            system.start()
            system.works_again()
        except BaseException:
            system.close()
            raise
        self._system, self._strikes = system, 0
        return system

    def end(self) -> None:
        """In order, and everything checked once more."""
        system, self._system = self._system, None
        if system is not None:
            with closing(system):
                concluded(system)


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    made = Hall(tmp_path_factory)
    yield made
    made.end()


@pytest.fixture
def dice(seed: int) -> random.Random:
    return random.Random(f"process-{seed}")


def test_21_a_server_killed_at_any_instant_loses_and_doubles_nothing(
    hall: Hall, seed: int, dice: random.Random
) -> None:
    with hall.struck(seed) as system:
        left = system.exits()
        for _ in range(dice.randint(1, 3)):
            system.mid_work(dice)
            system.kill_server(away_s=dice.uniform(0, 0.5))
        assert system.exits() == left, (
            "expected every service to wait for the server, and to find its last commit there"
        )


def test_23_a_server_without_memory_stops_all_orders_until_it_has_room(
    hall: Hall, seed: int, dice: random.Random
) -> None:
    with hall.struck(seed) as system:
        system.until(lambda: system.account()["positions"] and not system.bare())
        system.mid_work(dice)
        acted, left = system.watchdog_acted(), system.exits()
        system.set_memory("1")
        full_at, full = time.time_ns(), system.witness.lengths()
        system.until(lambda: system.watchdog_acted() > acted, ALERT_S)
        system.run(dice.uniform(0, 0.5))
        system.witness.look()
        assert system.witness.lengths() == full, "nothing is written while there is no room"
        sent = {row["orderLinkId"] for row in system.orders(full_at // 1_000_000)}
        assert sent <= {body.order_link_id for body in system.witness.records(OrderSubmitted)}
        assert not system.bare()
        gone = {code for name, codes in system.exits().items() for code in codes[len(left[name]) :]}
        assert gone == {FENCED}, "expected services that cannot commit to leave, for a supervisor to start them again"
        system.set_memory("0")


def test_24_a_zombie_commits_nothing(hall: Hall, seed: int, dice: random.Random) -> None:
    service = SERVICES[seed % len(SERVICES)]
    with hall.struck(seed) as system:
        system.mid_work(dice)
        epoch, said = system.witness.epoch(service), len(system.said(service))
        zombie = system.stop_in_place(service)
        system.until(lambda: system.witness.epoch(service) == epoch + 1)
        system.works_again()
        zombie.send_signal(signal.SIGCONT)
        system.until(lambda: zombie.poll() is not None)
        assert zombie.returncode == FENCED
        assert f"was told FENCED {epoch + 1}" in system.said(service)[said:]
        if service == RISK:
            epochs = [body.epoch for body in system.witness.records(OrderIntent)]
            assert epochs == sorted(epochs)
