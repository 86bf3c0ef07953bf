"""Scenarios of people and of processes: commands, crashes, mixed versions, a lone operator."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from libs.common.events import (
    CommandRefused,
    FlatConfirmed,
    FlattenRequested,
    Halted,
    HaltRequested,
    Heartbeat,
    LimitChange,
    LimitChanged,
    OrderIntent,
    Purpose,
    Reason,
    Resumed,
    ResumeRequested,
    Tick,
)
from tests.scenarios.checks import settled, sound
from tests.scenarios.world import EXECUTION, LOCKSTEP_SERVICES, SIGNAL, S, World

Make = Callable[..., World]


def test_04_halt_and_liquidate_ends_flat_by_the_exchanges_word(world: Make) -> None:
    here = world()
    here.trading()
    struck_at = here.at
    here.command(FlattenRequested, reason="the venue is in trouble")
    here.until(lambda: here.of(FlatConfirmed, since=struck_at), 60, "flat")
    assert here.open_lots() == 0
    here.run(30)
    assert here.open_lots() == 0
    assert here.mode() == "HALTED"
    settled(here)


def test_09_one_signed_command_cuts_exposure_and_the_data_go_on(world: Make) -> None:
    """The exchange pays out slowly and spreads are wide. First exposure may only shrink, then it goes; each is one command."""
    here = world()
    here.trading()
    before = ticks_in(here, 30)
    here.do("depth", symbol="BTCUSDT", spread_percent=500)
    here.do("depth", symbol="ETHUSDT", spread_percent=500)
    here.fault(*({"kind": "latency", "ms": 3_000, "match": {"path": f"/v5/{part}"}} for part in ("account", "asset")))
    here.command(LimitChange, name="max_gross_usd", value=Decimal(1))
    here.run(1)
    assert [changed for changed in here.of(LimitChanged) if changed.limits.get("max_gross_usd") == 1]
    cut_at = here.at
    while here.at < cut_at + 30 * S:
        held = lots(here)
        here.step()
        assert all(abs(after) <= abs(held[name]) for name, after in lots(here).items()), "exposure may only shrink"
    assert not [intent for intent in here.of(OrderIntent, since=cut_at + 1) if intent.purpose is Purpose.ENTRY]
    assert len(here.of(Tick, since=cut_at + 1)) >= 0.7 * before, "the data go on"
    here.command(FlattenRequested, reason="out of this venue")
    here.until(lambda: here.of(FlatConfirmed, since=cut_at), 60, "flat")
    assert here.open_lots() == 0
    settled(here)


def ticks_in(world: World, seconds: int) -> int:
    since = world.at
    world.run(seconds)
    return len(world.of(Tick, since=since + 1))


def lots(world: World) -> dict[str, int]:
    return {symbol: world.account.position(symbol).lots for symbol in ("BTCUSDT", "ETHUSDT")}


def test_11_a_peer_on_other_code_halts(world: Make) -> None:
    here = world()
    here.trading()
    for service, code in ((SIGNAL, "0123456789ab"), (EXECUTION, "fedcba987654")):
        here.stage(Heartbeat(service=service, code=code, config="a"), f"health:{service}")
        here.step()
    here.until(lambda: [halt for halt in here.of(Halted) if halt.reason is Reason.HASH], 5, "a halt")
    at = here.at
    here.run(20)
    assert not [intent for intent in here.of(OrderIntent, since=at + 1) if intent.purpose is Purpose.ENTRY]
    sound(here)


def test_25_a_halt_outlives_every_restart_and_one_operator_alone_does_not_end_it(world: Make) -> None:
    here = world({"sim.usdt": "1000000", "risk.stage": "staged"})
    here.until(lambda: here.of(Halted), 10, "a book that was born halted")
    here.run(10)
    here.command(HaltRequested, reason="a test", sealed=False)
    here.step()
    here.step()
    halts = [record.id for record in here.records(Halted)]
    here.crash(*LOCKSTEP_SERVICES)
    here.run(5)
    assert here.mode() == "HALTED"
    alone = [here.command(ResumeRequested, "ana", halt_id=halt) for halt in halts]
    here.run(2)
    for command in alone:  # the same signature again, and the same person again
        here.stage(command)
    for halt in halts:
        here.command(ResumeRequested, "ana", halt_id=halt)
    here.run(2)
    here.crash(*LOCKSTEP_SERVICES)
    here.run(5)
    assert here.mode() == "HALTED"
    assert here.of(CommandRefused)
    for halt in halts:
        here.command(ResumeRequested, "ben", halt_id=halt)
    here.until(lambda: here.mode() == "NORMAL", 60, "two operators' word to be taken")
    assert {resumed.halt_id for resumed in here.of(Resumed)} >= set(halts)
    sound(here)
