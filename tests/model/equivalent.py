"""Mutants that change nothing anybody could notice, each with its reason. Keys are those of `Mutant.key`."""

from __future__ import annotations

SIGN = "a sign is 1 or -1, never 0, and only its direction counts"
UNIT = "dividing by 1 or -1 is multiplying by it"
FLAT = "a flat position closes nothing on either path"
NO_TARGET = "no target, no entry: decided before"

EQUIVALENT: dict[str, str] = {
    "services.risk.draft.exposure#order.sign > 0: Gt -> GtE": SIGN,
    "services.risk.draft.minimum_lots#kernel.ceil_div(market.min_notional_units, lot_units) if lot_units > 0 else 0: 0 -> 1": "the venue's step is a lot or more, and counts as well",
    "services.risk.draft.ratio#part <= 0: LtE -> Lt": "nothing of something is 0 on either path",
    "services.risk.entries._enter#event.target > 0: Gt -> GtE": NO_TARGET,
    "services.risk.exits.side_of#sign > 0: Gt -> GtE": SIGN,
    "services.risk.exits.transfers#mine > 0: Gt -> GtE": "who holds nothing has nobody on the other side",
    "services.risk.hedges._is_stopped#strict=True: True negated": "two lists of two",
    "services.risk.hedges._judged#event.target > 0: Gt -> GtE": NO_TARGET,
    "services.risk.hedges._judged#quantity > least: Gt -> GtE": "at the least quantity no cap can leave more",
    "services.risk.kernel.against#lots > 0: Gt -> GtE": FLAT,
    "services.risk.kernel.lots_for#value_units > 0: Gt -> GtE": "nothing buys no lots on either path",
    "services.risk.kernel.side_value#lots * sign: Mult -> FloorDiv": UNIT,
    "services.risk.kernel.sided_holds#sided_use(lots, open_buys, open_sells, -1): 1 -> 2": SIGN,
    "services.risk.kernel.sided_holds#sided_use(lots, open_buys, open_sells, 1): 1 -> 2": SIGN,
    "services.risk.kernel.sided_use#sign > 0: Gt -> GtE": SIGN,
    "services.risk.limits._assess#draft.lots > draft.least_lots: Gt -> GtE": "at the least quantity no cap can leave more",
    "services.risk.limits._cap_value#sign > 0: Gt -> GtE": SIGN,
    "services.risk.limits.entry_collar#beyond > 0: Gt -> GtE": "nothing beyond the reference measures 0 on either path",
    "services.risk.markets.sane#0 < price < HUGE: Lt -> LtE": "a price of 0 is 0 on either path",
    "services.risk.standing._loss#loss <= 0: LtE -> Lt": "no loss is a measure of 0 that reaches nothing on either path",
}
