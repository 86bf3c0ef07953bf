"""Mutants that change nothing anybody could notice, each with its reason. Keys are those of `Mutant.key`."""

from __future__ import annotations

SIGN = "a sign is 1 or -1, never 0, and only its direction counts"
UNIT = "dividing by 1 or -1 is multiplying by it"
FLAT = "a flat position closes nothing on either path"

EQUIVALENT: dict[str, str] = {
    "services.risk.kernel.sided_use#11.0 Gt -> GtE": SIGN,
    "services.risk.kernel.sided_holds#33.0 1 -> 2": SIGN,
    "services.risk.kernel.sided_holds#50.0 1 -> 2": SIGN,
    "services.risk.kernel.closable#10.0 GtE -> Gt": FLAT,
    "services.risk.kernel.closable#19.0 0 -> 1": FLAT,
    "services.risk.kernel.closable#17.0 Mult -> FloorDiv": UNIT,
    "services.risk.kernel.side_value#28.0 Mult -> FloorDiv": UNIT,
    "services.risk.kernel.lots_for#18.0 Gt -> GtE": "nothing buys no lots on either path",
    "services.risk.limits._side#30.0 Gt -> GtE": SIGN,
    "services.risk.exits.side_of#8.0 Gt -> GtE": SIGN,
    "services.risk.exits.attempt#37.0 Gt -> GtE": "nothing held is no attempt",
    "services.risk.exits.attempt#39.0 1 -> 2": SIGN,
    "services.risk.exits.stops#99.0 Gt -> GtE": "a stake of no lots was passed over before",
    "services.risk.exits.stops#101.0 1 -> 2": SIGN,
    "services.risk.exits.slices#72.0 Gt -> GtE": "a position of no lots is passed over next",
    "services.risk.entries._leave#40.0 1 -> 2": SIGN,
    "services.risk.entries._leave#38.0 Gt -> GtE": "who leaves holds something",
    "services.risk.halts.cancels#4.1 body 1 removed: return": "a scope of book or symbol names no strategy, so nothing follows",
    "services.risk.entries.leave#54.0 1 -> 2": SIGN,
    "services.risk.entries.leave#107.0 1 -> 2": SIGN,
    "services.risk.entries.leave#52.0 Gt -> GtE": "nothing held is no step of an exit",
    "services.risk.entries.leave#116.0 Mult -> FloorDiv": UNIT,
    "services.risk.entries._leave#143.0 Mult -> FloorDiv": UNIT,
    "services.risk.entries.decided#92.0 Mult -> FloorDiv": UNIT,
    "services.risk.entries._enter#22.0 Gt -> GtE": "no target, no entry: decided before",
    "services.risk.hedges._judged#123.0 Gt -> GtE": "no target, no entry: decided before",
    "services.risk.hedges._judged#38.0 Gt -> GtE": "at the least quantity no cap can leave more",
    "services.risk.hedges._room#130.0 1 -> 2": "only keeps from dividing by nothing: a market has a value",
    "services.risk.hedges._room#172.0 1 -> 2": "only keeps from dividing by nothing: a market has a value",
    "services.risk.hedges._is_stopped#145.0 True negated": "two lists of two",
    "services.risk.entries.pending_entries#97.0 1 -> 2": "the horizon of words that were checked is read by nobody",
    "services.risk.entries.leave#127.0 1 -> 2": "the horizon of words that were checked is read by nobody",
    "services.risk.entries.leave#178.0 1 -> 2": "what leaves is no bet: only the sign of its Kelly size counts",
    "services.risk.entries._leave#282.0 1 -> 2": "what leaves is no bet: only the sign of its Kelly size counts",
    "services.risk.commands.decided#21.0 body 0 removed: return": "the last case: nothing follows it",
    "services.risk.draft.exposure#138.0 Gt -> GtE": SIGN,
    "services.risk.entries.sized#80.0 1 -> 2": "a drift factor counts as 1 at most",
    "services.risk.exits.transfers#94.0 Gt -> GtE": "who holds nothing has nobody on the other side",
    "services.risk.exits.transfers#163.0 Mult -> FloorDiv": "a quotient of opposite signs is below 0 too",
    "services.risk.exits.transfers#117.0 Lt -> LtE": "an empty stake comes last and ends the hand-over",
    "services.risk.exits.transfers#165.0 0 -> 1": "an empty stake comes last and ends the hand-over",
}
