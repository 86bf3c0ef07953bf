"""What operators ask for. Going down needs no key; whatever raises risk needs a valid seal, in live stages two operators'.

The first of two seals is kept by the CommandRefused SECOND_OPERATOR that answers it, until it expires; the command that a
second operator seals about the same subject is obeyed and names both.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from libs.common import seal
from libs.common.events import (
    Command,
    CommandRefused,
    Event,
    FlattenRequested,
    Halted,
    HaltRequested,
    LimitChange,
    LimitChanged,
    Mode,
    PauseRequested,
    Reason,
    ResumeRequested,
    StageChange,
    StageChanged,
    UpgradeOpened,
    UpgradeWindow,
)
from services.risk import halts, limitfile, modes
from services.risk.config import LIVE_STAGES, STAGE_SHARES, RiskConfig
from services.risk.modes import scope_mode, worst
from services.risk.state import BOOK, MINUTE_NS, Block, RiskState, Signature
from services.risk.valuation import marked

NONCES_KEPT = 1000
OPEN_SUBJECTS = 32
LONGEST_NS = 24 * 60 * MINUTE_NS
"""A seal may be good for a day at most: so long its nonce is remembered at least."""
LONGEST_WINDOW_MIN = 120


def on_command(state: RiskState, event: Command) -> None:
    """Remember the nonce while its seal could be shown again, so that no command counts twice."""
    state.subject = subject_of(event)
    state.is_replayed = event.nonce in state.nonces
    if state.is_replayed:
        return
    state.nonces[event.nonce] = event.expires_at
    spare = len(state.nonces) - NONCES_KEPT
    for nonce in [n for n, until in state.nonces.items() if until <= state.now or until > state.now + LONGEST_NS]:
        if spare <= 0:
            break
        del state.nonces[nonce]
        spare -= 1


def decided(state: RiskState, config: RiskConfig, event: Command) -> Iterator[Event]:
    """Obey or refuse. An expired halt is still a halt; an expired resume is nothing."""
    if state.is_replayed:
        yield _refuse(event, "DUPLICATE")
        return
    match event:
        case HaltRequested(scope=scope, reason=reason, flatten=flatten):
            cause = event.cause if event.cause is Reason.STALE_LOG else Reason.OPERATOR
            yield from _down(state, config, event, scope, reason, Mode.HALTED, flatten, cause)
        case FlattenRequested(reason=reason):
            yield from _down(state, config, event, BOOK, reason or "flatten", Mode.HALTED, True)
        case PauseRequested(scope=scope, reason=reason):
            yield from _down(state, config, event, scope, reason or "pause", Mode.REDUCE_ONLY, False)
        case ResumeRequested():
            yield from _resume(state, config, event)
        case LimitChange():
            yield _limit(state, config, event)
        case StageChange():
            yield _stage(state, config, event)
        case UpgradeWindow():
            yield _upgrade(state, config, event)
        case _:
            pass  # models are signal's to answer


def on_obeyed(state: RiskState) -> None:
    """A limit, stage, window or halt changed: signatures for it are used up."""
    state.signatures.pop(state.subject, None)


# --- down ------------------------------------------------------------------------------------------------------------


def _down(
    state: RiskState,
    config: RiskConfig,
    event: Command,
    scope: str,
    reason: str,
    mode: Mode,
    flatten: bool,
    cause: Reason = Reason.OPERATOR,
) -> Iterator[Event]:
    if not _is_scope(state, config, scope) or (flatten and scope != BOOK):
        yield _refuse(event, "SCOPE")
        return
    standing = state.blocks.get(f"{scope}/{cause}")
    if standing is None or worst(standing.mode, mode) is not standing.mode:
        use = halts.fact(cause, f"{event.operator}: {reason}")
        yield Halted(
            reason=use.use.name,
            measured=use.use.measured,
            limit=use.use.limit,
            scope=scope,
            mode=worst(scope_mode(state, scope), mode),
            detail=use.detail,
        )
    yield from halts.after(state, config, scope, cause, flatten)


def _is_scope(state: RiskState, config: RiskConfig, scope: str) -> bool:
    kind, _, name = scope.partition(":")
    return (
        scope == BOOK or (kind == "symbol" and name in state.markets) or (kind == "strategy" and name in config.allow)
    )


# --- up --------------------------------------------------------------------------------------------------------------


def _resume(state: RiskState, config: RiskConfig, event: ResumeRequested) -> Iterator[Event]:
    block = modes.halt_named(state, event.halt_id)
    refusal = _unsigned(state, config, event)
    if block is None:
        yield _refuse(event, refusal or "UNKNOWN_HALT")
        return
    refusal = refusal or _standing(state, block) or _alone(state, config, event)
    if refusal is not None:
        yield _refuse(event, refusal)
        return
    resumed = modes.resumption(state, block, event.operator)
    yield msgspec.structs.replace(resumed, requested_by=_first(state, config, event), why=event.reason)
    yield marked(state)


def _standing(state: RiskState, block: Block) -> str | None:
    """Why a halt stays for now, whoever asks."""
    if state.liquidating:
        return "LIQUIDATING"
    return None if modes.may_rebase(state, block) else "ONE_REBASE_A_DAY"


def _limit(state: RiskState, config: RiskConfig, event: LimitChange) -> Event:
    """Lowering needs one operator; raising is what two are for in live stages."""
    refusal = _unsigned(state, config, event)
    limits, problem = limitfile.moved(state.limits, event.name, event.value)
    refusal = refusal or problem
    if refusal is None and limitfile.is_looser(event.name, getattr(state.limits, event.name), event.value):
        refusal = _alone(state, config, event)
    if refusal is not None:
        return _refuse(event, refusal)
    return LimitChanged(
        version=state.limits_version + 1,
        limits=msgspec.structs.asdict(limits),
        operator=event.operator,
        changed=limitfile.differences(state.limits, limits),
        requested_by=_first(state, config, event),
        why=event.reason,
    )


def _stage(state: RiskState, config: RiskConfig, event: StageChange) -> Event:
    """Down or sideways is one operator's; up into real money needs the evidence of the stage before, which nothing computes yet.

    Real money stays in the stages of real money: paper has the whole account for its capital and asks one operator.
    """
    refusal = _unsigned(state, config, event)
    ladder = list(STAGE_SHARES)
    if refusal is None and event.stage not in ladder:
        refusal = "UNKNOWN_STAGE"
    if refusal is None and event.stage in LIVE_STAGES and ladder.index(event.stage) > ladder.index(state.stage):
        refusal = "NO_EVIDENCE"
    if refusal is None and state.stage in LIVE_STAGES and event.stage not in LIVE_STAGES:
        refusal = "REAL_MONEY"
    if refusal is not None:
        return _refuse(event, refusal)
    return StageChanged(stage=event.stage, share=STAGE_SHARES[event.stage], operator=event.operator, why=event.reason)


def _upgrade(state: RiskState, config: RiskConfig, event: UpgradeWindow) -> Event:
    """A window in which peers may differ, from now on. The newest one counts, so that a window can be cut short."""
    refusal = _unsigned(state, config, event)
    if refusal is None and not 0 <= event.minutes <= LONGEST_WINDOW_MIN:
        refusal = "VALUE"
    if refusal is None and event.minutes:
        refusal = _alone(state, config, event)
    if refusal is not None:
        return _refuse(event, refusal)
    return UpgradeOpened(
        until_at=state.now + event.minutes * MINUTE_NS,
        operator=event.operator,
        requested_by=_first(state, config, event),
        why=event.reason,
    )


# --- seals -----------------------------------------------------------------------------------------------------------


def _unsigned(state: RiskState, config: RiskConfig, event: Command) -> str | None:
    """Why the command's seal does not count; None when it does."""
    if event.expires_at <= state.now:
        return "EXPIRED"
    if event.expires_at > state.now + LONGEST_NS:
        return "EXPIRY_TOO_FAR"
    key = config.operator_keys.get(event.operator, "")
    if not seal.verify(key, event):
        return seal.BAD_SEAL
    return None if event.place == config.place else seal.OTHER_BOOK


def _alone(state: RiskState, config: RiskConfig, event: Command) -> str | None:
    """In live stages the first operator's seal is kept, and a second operator's makes it so."""
    if state.stage not in LIVE_STAGES:
        return None
    return None if _first(state, config, event) else "SECOND_OPERATOR"


def _first(state: RiskState, config: RiskConfig, event: Command) -> str:
    """Another operator who sealed this subject before, while that seal is good and he may sign; "" for nobody."""
    first = state.signatures.get(subject_of(event))
    return (
        first.operator
        if first is not None
        and first.expires_at > state.now
        and first.operator != event.operator
        and first.operator in config.operator_keys
        else ""
    )


def on_refused(state: RiskState, config: RiskConfig, event: CommandRefused) -> None:
    """Keep the first of two signatures: the refusal that asks for the second is what records it."""
    if event.reason == "SECOND_OPERATOR" and state.subject:
        kept = state.signatures.get(state.subject)
        if kept is None or kept.expires_at <= state.now or kept.operator not in config.operator_keys:
            state.signatures.pop(state.subject, None)
            state.signatures[state.subject] = Signature(event.operator, state.nonces.get(event.nonce, 0))
        while len(state.signatures) > OPEN_SUBJECTS:
            del state.signatures[next(iter(state.signatures))]


def subject_of(event: Command) -> str:
    """What a signature is about."""
    match event:
        case ResumeRequested(halt_id=halt_id):
            return f"resume {halt_id}"
        case LimitChange(name=name, value=value):
            return f"limit {name} {value.normalize()}" if value.is_finite() else ""
        case UpgradeWindow(minutes=minutes):
            return f"upgrade {minutes}"
        case _:
            return ""


def _refuse(event: Command, reason: str) -> CommandRefused:
    return CommandRefused(nonce=event.nonce, operator=event.operator, reason=reason)
