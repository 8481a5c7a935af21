"""The ledger as auditors read it: one line per record, saying who did what, when, to what end."""

from dataclasses import dataclass

from ledger.events import JsonObject
from projections.current_state import settled_of
from projections.fields import Told, body, inner, is_newer, number, text, texts

_OUTCOMES = {
    "step.succeeded": "ok",
    "step.failed": "failed",
    "step.skipped": "skipped",
    "step.undone": "undone",
    "step.undo-failed": "failed",
    "transaction.committed": "committed",
    "transaction.rolled-back": "rolled-back",
    "transaction.rejected": "rejected",
    "transaction.stuck": "stuck",
}
DECISION = "operator.decided"
_LEDGER_WORDS = {"ledger.created": "ledger created"}


@dataclass(frozen=True, slots=True)
class LogLine:
    """One record. ``login`` acted, ``outcome`` is None where the record is an intent, ``detail`` adds what there is."""

    seq: int
    at: str
    login: str
    login_uid: int | None
    transaction_id: str | None
    target: str | None
    type: str
    what: str
    outcome: str | None
    detail: str | None
    duration_ns: int | None


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """A person's way out of a stuck transaction: record ``seq``, by ``login``."""

    seq: int
    at: str
    login: str
    transaction_id: str | None
    target: str | None
    choice: str | None


def decision(record: Told) -> DecisionLine:
    """The line for ``record``, which is a ``DECISION``."""
    choice = text(body(record), "choice")
    return DecisionLine(record.seq, record.at, record.actor.login, record.transaction, record.target, choice)


def entry(record: Told) -> LogLine:
    """The line for ``record``."""
    event = body(record)
    return LogLine(
        seq=record.seq,
        at=record.at,
        login=record.actor.login,
        login_uid=record.actor.login_uid,
        transaction_id=record.transaction,
        target=record.target,
        type=record.type,
        what=_what(record.type, event),
        outcome=_OUTCOMES.get(record.type),
        detail=f"written by rootswap {record.engine_version}" if is_newer(record) else _detail(record.type, event),
        duration_ns=number(event, "duration_ns"),
    )


def _what(kind: str, event: JsonObject) -> str:
    group, _, verb = kind.partition(".")
    match group:
        case "step":
            attempt = number(event, "attempt") or 1
            again = f", attempt {attempt}" if attempt > 1 else ""
            return f"step {number(event, 'step')} {text(event, 'kind')} {verb.replace('-', ' ')}{again}"
        case "transaction" if verb == "begun":
            return f"{text(event, 'kind')} begun, {len(texts(event, 'steps'))} steps"
        case "operator":
            return f"operator decided: {text(event, 'choice')}"
        case "recovery" if verb == "decided":
            place = number(event, "step")
            return f"recovery decided: {text(event, 'action')}" + (f" step {place}" if place else "")
        case "recovery":
            return f"recovery started, {len(texts(event, 'open'))} open"
        case _:
            return _LEDGER_WORDS.get(kind, kind.replace(".", " ").replace("-", " "))


def _detail(kind: str, event: JsonObject) -> str | None:
    match kind:
        case "step.succeeded":
            fact = inner(event, "fact")
            return _arrow(text(fact, "before"), text(fact, "after"))
        case "transaction.begun":
            before, after = settled_of(inner(event, "before")), settled_of(inner(event, "after"))
            return _arrow(before.release if before else None, after.release if after else None)
        case "transaction.committed" | "transaction.rolled-back":
            downtime_ns = number(event, "downtime_ns")
            downtime = None if downtime_ns is None else f"downtime {downtime_ns / 1e6:.0f} ms"
            return "; ".join(word for word in (text(event, "cause"), downtime) if word) or None
        case "operator.decided":
            return f"{text(event, 'by')}: {text(event, 'why')}"
        case "approval.given" | "approval.refused":
            return f"{text(inner(event, 'by'), 'login')}: {text(event, 'reason')}"
        case "reboot.requested":
            return text(event, "target")
        case "reboot.observed":
            return text(event, "booted")
        case _:
            return text(event, "error") or text(event, "cause") or text(event, "reason")


def _arrow(before: str | None, after: str | None) -> str | None:
    if before is None and after is None:
        return None
    return f"{before or 'nothing'} → {after or 'nothing'}"
