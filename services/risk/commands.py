"""What operators ask for. Going down needs no key; whatever raises risk needs a valid seal, in live stages two operators."""

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
)
from services.risk import halts, modes
from services.risk.config import LIVE_STAGES, STAGE_SHARES, Limits, RiskConfig
from services.risk.modes import scope_mode, worst
from services.risk.state import BOOK, RiskState
from services.risk.valuation import marked

NONCES_KEPT = 1000
OPEN_SUBJECTS = 32


def on_command(state: RiskState, event: Command) -> None:
    """Remember the nonce, so that no command counts twice."""
    state.subject = subject_of(event)
    state.is_replayed = event.nonce in state.nonces
    if not state.is_replayed:
        state.nonces.append(event.nonce)
        del state.nonces[:-NONCES_KEPT]


def decided(state: RiskState, config: RiskConfig, event: Command) -> Iterator[Event]:
    """Obey or refuse. An expired halt is still a halt; an expired resume is nothing."""
    if state.is_replayed:
        yield _refuse(event, "DUPLICATE")
        return
    match event:
        case HaltRequested(scope=scope, reason=reason, flatten=flatten):
            yield from _down(state, config, event, scope, reason, Mode.HALTED, flatten)
        case FlattenRequested(reason=reason):
            yield from _down(state, config, event, BOOK, reason or "flatten", Mode.HALTED, True)
        case PauseRequested(scope=scope, reason=reason):
            yield from _down(state, config, event, scope, reason or "pause", Mode.REDUCE_ONLY, False)
        case ResumeRequested():
            yield from _resume(state, config, event)
        case LimitChange():
            yield from _limit(state, config, event)
        case StageChange():
            yield from _stage(state, config, event)
        case _:  # models are signal's to answer
            return


def on_obeyed(state: RiskState) -> None:
    """A limit, stage or halt changed: signatures for it are used up."""
    state.signatures.pop(state.subject, None)


def _down(
    state: RiskState, config: RiskConfig, event: Command, scope: str, reason: str, mode: Mode, flatten: bool
) -> Iterator[Event]:
    if not _is_scope(state, config, scope) or (flatten and scope != BOOK):
        yield _refuse(event, "SCOPE")
        return
    standing = state.blocks.get(f"{scope}/{Reason.OPERATOR}")
    if standing is None or worst(standing.mode, mode) is not standing.mode:
        use = halts.fact(Reason.OPERATOR, f"{event.operator}: {reason}")
        yield Halted(
            reason=use.use.name,
            measured=use.use.measured,
            limit=use.use.limit,
            scope=scope,
            mode=worst(scope_mode(state, scope), mode),
            detail=use.detail,
        )
    yield from halts.after(state, config, scope, Reason.OPERATOR, flatten)


def _is_scope(state: RiskState, config: RiskConfig, scope: str) -> bool:
    kind, _, name = scope.partition(":")
    return (
        scope == BOOK or (kind == "symbol" and name in state.markets) or (kind == "strategy" and name in config.allow)
    )


def _resume(state: RiskState, config: RiskConfig, event: ResumeRequested) -> Iterator[Event]:
    block = modes.halt_named(state, event.halt_id)
    refusal = _unsigned(state, config, event)
    if refusal is None and state.liquidating:
        refusal = "LIQUIDATING"
    if refusal is None and block is None:
        refusal = "UNKNOWN_HALT"
    if refusal is None and block is not None and not modes.may_rebase(state, block):
        refusal = "ONE_REBASE_A_DAY"
    refusal = refusal or _alone(state, event)
    if refusal is not None or block is None:
        yield _refuse(event, refusal or "UNKNOWN_HALT")
        return
    yield modes.resumption(state, block, event.operator)
    yield marked(state)


def _limit(state: RiskState, config: RiskConfig, event: LimitChange) -> Iterator[Event]:
    refusal = _unsigned(state, config, event)
    if refusal is None and event.name not in Limits.__struct_fields__:
        refusal = "UNKNOWN_LIMIT"
    if refusal is None and not (event.value.is_finite() and event.value >= 0):
        refusal = "VALUE"
    refusal = refusal or _alone(state, event)
    if refusal is not None:
        yield _refuse(event, refusal)
        return
    values = msgspec.structs.asdict(state.limits) | {event.name: event.value}
    yield LimitChanged(version=state.limits_version + 1, limits=values, operator=event.operator)


def _stage(state: RiskState, config: RiskConfig, event: StageChange) -> Iterator[Event]:
    refusal = _unsigned(state, config, event)
    if refusal is None and event.stage not in STAGE_SHARES:
        refusal = "UNKNOWN_STAGE"
    live = state.stage in LIVE_STAGES or event.stage in LIVE_STAGES
    refusal = refusal or _alone(state, event, is_live=live)
    if refusal is not None:
        yield _refuse(event, refusal)
        return
    yield StageChanged(stage=event.stage, share=STAGE_SHARES[event.stage], operator=event.operator)


def _unsigned(state: RiskState, config: RiskConfig, event: Command) -> str | None:
    """Why the command's seal does not count; None when it does."""
    if event.expires_at <= state.now:
        return "EXPIRED"
    key = config.operator_keys.get(event.operator, "")
    return None if key and seal.verify(key, event) else "SEAL"


def _alone(state: RiskState, event: Command, *, is_live: bool | None = None) -> str | None:
    """In live stages the first operator's seal is kept, and a second operator's makes it so."""
    if not (state.stage in LIVE_STAGES if is_live is None else is_live):
        return None
    first = state.signatures.get(subject_of(event))
    return None if first is not None and first != event.operator else "SECOND_OPERATOR"


def on_refused(state: RiskState, event: CommandRefused) -> None:
    """Keep the first of two signatures: the refusal that asks for the second is what records it."""
    if event.reason == "SECOND_OPERATOR" and state.subject:
        state.signatures.setdefault(state.subject, event.operator)
        while len(state.signatures) > OPEN_SUBJECTS:
            del state.signatures[next(iter(state.signatures))]


def subject_of(event: Command) -> str:
    """What a signature is about."""
    match event:
        case ResumeRequested(halt_id=halt_id):
            return f"resume {halt_id}"
        case LimitChange(name=name, value=value):
            return f"limit {name} {value}"
        case StageChange(stage=stage):
            return f"stage {stage}"
        case _:
            return ""


def _refuse(event: Command, reason: str) -> CommandRefused:
    return CommandRefused(nonce=event.nonce, operator=event.operator, reason=reason)
