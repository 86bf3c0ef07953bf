"""T2 and T4 for integers of any size: each event of the exchange keeps the sided rule, by Z3 over the shipped kernel.

An obligation is: whatever the state, if the rule held before and the event is one that can come, it holds after. Together
with "nothing held, nothing open" keeping it, that is induction over sequences of any length. `holds` is False for the
obligations that must be refuted: the rule that looks right and is not, and guards left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import z3

from services.risk import kernel, sizing
from tests.model.symbolic import Symbol, value

TIMEOUT_MS = 20_000


class Obligation(msgspec.Struct):
    name: str
    theorem: str
    claim: Callable[[], Any]
    """The formula that must have no counterexample."""
    holds: bool = True


class Answer(msgspec.Struct):
    name: str
    theorem: str
    expected: str
    answer: str
    """`proved`, `refuted: <counterexample>` or `unknown`."""
    ms: float

    @property
    def is_right(self) -> bool:
        return self.answer.startswith(self.expected)


def discharge(obligation: Obligation) -> Answer:
    began = time.perf_counter()
    solver = z3.Solver()
    solver.set("timeout", TIMEOUT_MS)
    solver.add(z3.Not(obligation.claim()))
    outcome = solver.check()
    told = "unknown"
    if outcome == z3.unsat:
        told = "proved"
    elif outcome == z3.sat:
        model = solver.model()
        told = "refuted: " + ", ".join(f"{name} = {model[name]}" for name in sorted(model.decls(), key=str))
    expected = "proved" if obligation.holds else "refuted"
    spent = (time.perf_counter() - began) * 1000
    return Answer(obligation.name, obligation.theorem, expected, told, spent)


# --- the state of one symbol: lots held, lots that may still fill, the limit ---------------------------------------------

LOTS, BUYS, SELLS, LIMIT, SIZE, CLOSING = (
    Symbol(z3.Int(name)) for name in ("lots", "buys", "sells", "limit", "size", "closing")
)
lots, buys, sells, limit, size, closing = (s.term for s in (LOTS, BUYS, SELLS, LIMIT, SIZE, CLOSING))
SOUND = z3.And(buys >= 0, sells >= 0, limit >= 0, closing >= 0)

Rule = Callable[[Any, Any, Any, Any], Any]


def sided(most: Any, held: Any, open_buys: Any, open_sells: Any) -> Any:
    return value(kernel.sided_holds, Symbol(most), Symbol(held), Symbol(open_buys), Symbol(open_sells))


def net(most: Any, held: Any, open_buys: Any, open_sells: Any) -> Any:
    """What looks right and is not."""
    return z3.And(held + open_buys <= most, -held + open_sells <= most)


def step(can_come: Any, after: tuple[Any, Any, Any], rule: Rule = sided) -> Any:
    return z3.Implies(z3.And(SOUND, rule(limit, lots, buys, sells), can_come), rule(limit, *after))


def _approval(sign: int) -> Any:
    """An entry no larger than the room that the kernel leaves."""
    used = value(kernel.sided_use, LOTS, BUYS, SELLS, sign)
    can_come = z3.And(size > 0, size <= value(kernel.room, LIMIT, Symbol(used)))
    return step(can_come, (lots, buys + size, sells) if sign > 0 else (lots, buys, sells + size))


def _reduce(sign: int) -> Any:
    """A reduce-only order's fill: approved within `closable`, cut by the venue to what is held."""
    can_come = z3.And(size > 0, size <= value(kernel.closable, LOTS, CLOSING, sign))
    return step(can_come, (lots + sign * size, buys, sells))


def _venue_takes(rule: Rule = sided) -> Any:
    """ADL, liquidation, settlement: the venue shrinks the position, to nothing at most."""
    taken = z3.If(lots > 0, lots - size, lots + size)
    return step(z3.And(size > 0, size <= z3.If(lots > 0, lots, -lots)), (taken, buys, sells), rule)


def _closable() -> Any:
    """A reduce-only order is on the other side, no larger than what is held less what is closing, and never grows it."""
    claims = []
    for sign in (1, -1):
        most = value(kernel.closable, LOTS, CLOSING, sign)
        held = z3.If(lots > 0, lots, -lots)
        after = z3.If(lots + sign * size > 0, lots + sign * size, -(lots + sign * size))
        valid = z3.And(SOUND, size > 0, size <= most)
        claims += [most >= 0, z3.Implies(valid, z3.And(lots * sign < 0, size + closing <= held, after < held))]
    return z3.Implies(SOUND, z3.And(claims))


def _exits_pass() -> Any:
    """Whatever is held and not being closed already may be closed, whole."""
    held = z3.If(lots > 0, lots, -lots)
    return z3.And(
        [
            z3.Implies(z3.And(SOUND, lots * sign < 0, closing <= held), value(kernel.closable, LOTS, CLOSING, sign) == held - closing)
            for sign in (1, -1)
        ]
    )  # fmt: skip


# --- notional, sizes, loss limits ------------------------------------------------------------------------------------------

A, B, C, E = (Symbol(z3.Int(name)) for name in "abce")
a, b, c, e = (s.term for s in (A, B, C, E))


def _value_cap() -> Any:
    """Lots bought from what a value limit leaves keep the side within it (b: value of a lot, c: side now, e: limit)."""
    bought = value(kernel.lots_for, E - C, B)
    return z3.Implies(z3.And(b > 0, c >= 0, c <= e), c + bought * b <= e)


def _worst_covers() -> Any:
    """The worst value of a symbol is no less than what is held, whatever of the open orders fills."""
    worst = value(kernel.worst_value, LOTS, B, Symbol(buys), Symbol(sells))
    held = z3.If(lots > 0, lots, -lots) * b
    return z3.Implies(z3.And(SOUND, b >= 0), z3.And(worst >= held, worst >= buys, worst >= sells))


def _profit_never_reaches() -> Any:
    return z3.Implies(a <= 0, z3.Not(value(kernel.reaches, A, B, C)))


def _reaching_is_monotone() -> Any:
    more = value(kernel.reaches, A + E, B, C)
    return z3.Implies(z3.And(e >= 0, value(kernel.reaches, A, B, C)), more)


def _no_base_divides_nothing() -> Any:
    """With nothing to lose from, any loss reaches; it never raises."""
    return z3.Implies(z3.And(a > 0, c <= 0, b >= 0), value(kernel.reaches, A, B, C))


def _rescaled() -> Any:
    """Cash moved equity from b to c: the loss over base a in proportion to equity does not grow (floor, never a halt)."""
    base = value(kernel.rescaled, A, B, C, assumed=z3.And(b > 0, c > 0))
    return z3.Implies(z3.And(a >= 0, b > 0, c > 0), z3.And(base * b <= a * c, (base + 1) * b > a * c))


def _floor_step() -> Any:
    floored = value(sizing.floor_step, A, B, assumed=z3.And(a >= 0, b > 0))
    return z3.Implies(z3.And(a >= 0, b > 0), z3.And(floored >= 0, floored <= a, a - floored < b))


def _ceil_div() -> Any:
    up = value(kernel.ceil_div, A, B, assumed=b > 0)
    return z3.Implies(b > 0, z3.And(up * b >= a, (up - 1) * b < a))


def _risked() -> Any:
    """Whole lots never risk more than was granted (b: loss of a lot at its stop)."""
    return z3.Implies(a >= 0, z3.And(value(sizing.lots_at_risk, A, B) >= 0, value(sizing.lots_at_risk, A, B) * b <= a))


OBLIGATIONS: tuple[Obligation, ...] = (
    Obligation("nothing held, nothing open", "T2", lambda: z3.Implies(limit >= 0, sided(limit, z3.IntVal(0), z3.IntVal(0), z3.IntVal(0)))),
    Obligation("the rule bounds the position", "T2", lambda: z3.Implies(z3.And(SOUND, sided(limit, lots, buys, sells)), z3.And(lots <= limit, -lots <= limit))),
    Obligation("approval of a buy", "T2", lambda: _approval(1)),
    Obligation("approval of a sell", "T2", lambda: _approval(-1)),
    Obligation("fill of a buy", "T2", lambda: step(z3.And(size > 0, size <= buys), (lots + size, buys - size, sells))),
    Obligation("fill of a sell", "T2", lambda: step(z3.And(size > 0, size <= sells), (lots - size, buys, sells - size))),
    Obligation("end of a buy", "T2", lambda: step(z3.And(size >= 0, size <= buys), (lots, buys - size, sells))),
    Obligation("end of a sell", "T2", lambda: step(z3.And(size >= 0, size <= sells), (lots, buys, sells - size))),
    Obligation("fill of a reduce-only buy", "T2", lambda: _reduce(1)),
    Obligation("fill of a reduce-only sell", "T2", lambda: _reduce(-1)),
    Obligation("ADL, liquidation, settlement", "T2", _venue_takes),
    Obligation("a loosened limit", "T2", lambda: z3.Implies(z3.And(SOUND, size >= 0, sided(limit, lots, buys, sells)), sided(limit + size, lots, buys, sells))),
    Obligation("a value cap leaves the side within its limit", "T2", _value_cap),
    Obligation("the worst value covers every outcome", "T2", _worst_covers),
    Obligation("a reduce-only order only reduces", "T4", _closable),
    Obligation("what is held can be closed whole", "T4", _exits_pass),
    Obligation("a profit reaches no loss limit", "limits", _profit_never_reaches),
    Obligation("a larger loss reaches no less", "limits", _reaching_is_monotone),
    Obligation("without a base any loss reaches", "limits", _no_base_divides_nothing),
    Obligation("cash keeps the proportion of a loss", "limits", _rescaled),
    Obligation("down to the venue's step", "limits", _floor_step),
    Obligation("up to a whole lot", "limits", _ceil_div),
    Obligation("a size risks no more than was granted", "limits", _risked),
    Obligation("mutant: net rule under ADL", "T2", lambda: _venue_takes(net), holds=False),
    Obligation("mutant: approval beyond the room", "T2", lambda: step(size == value(kernel.room, LIMIT, Symbol(value(kernel.sided_use, LOTS, BUYS, SELLS, 1))) + 1, (lots, buys + size, sells)), holds=False),
    Obligation("mutant: a fill that frees nothing", "T2", lambda: step(z3.And(size > 0, size <= buys), (lots + size, buys, sells)), holds=False),
    Obligation("mutant: a reservation freed by a lost reply", "T2", lambda: step(z3.And(size > 0, size <= buys), (lots + size, buys, sells + size)), holds=False),
)  # fmt: skip


def discharge_all() -> list[Answer]:
    return [discharge(obligation) for obligation in OBLIGATIONS]
