"""Changes as auditors ask for them: one narrow line per transaction, with its approval and where its downtime went.

The line holds what questions over a whole history need, and no JSON, so that an index can hold all of a question. It is
made of the story of ``history`` and of a few *marks* that the story does not keep.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from ledger.lifecycle import State
from projections.history import TransactionLine
from projections.marks import Marks
from projections.steps import Values

#: The steps of a downtime, and what their shares are called.
SHARES = {
    "stop_jail": "stop_ns",
    "snapshot_volumes": "snapshot_ns",
    "remount_root": "remount_ns",
    "start_jail": "start_ns",
    "check_health": "health_ns",
}


_NAMES = tuple(field.name for field in fields(Marks))


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """One transaction. ``at`` fields are UTC as recorded, ``ns`` are nanoseconds.

    - ``begun_seq`` and ``begun_at`` are of the plan as long as that waits; ``approval`` is one of VERDICTS.
    - ``window`` is what the maintenance windows said when it began: unrestricted, inside, outside or frozen.
    - ``down_at`` is when the stop began from which ``downtime_ns`` counts; ``stop_ns`` to ``health_ns`` are the shares
      of its steps, ``undo_ns`` that of taking them back, ``other_ns`` the rest: other steps, and the ledger's commits.
    - ``unwind_at`` is when the transaction turned back, ``unwind_ns`` how long it then took to be as before; None where
      no clock spans it. ``unwind_clock`` is the monotonic reading and the boot of that moment.
    """

    transaction_id: str
    target: str
    kind: str
    state: str
    begun_seq: int
    begun_at: str
    last_seq: int
    ended_seq: int | None
    ended_at: str | None
    uid: int
    login: str
    login_uid: int | None
    from_release: str | None
    to_release: str | None
    reason: str | None
    ticket: str | None
    cause: str | None
    approval: str
    approved_by: str | None
    approved_at: str | None
    approval_meaning: str | None
    planned_by: str | None
    planned_at: str | None
    settle_by: str | None
    window: str | None
    window_name: str | None
    basis: str | None
    recovered: int
    duration_ns: int | None
    downtime_ns: int | None
    down_at: str | None
    stop_ns: int | None
    snapshot_ns: int | None
    remount_ns: int | None
    start_ns: int | None
    health_ns: int | None
    undo_ns: int | None
    other_ns: int | None
    unwind_at: str | None
    unwind_clock: str | None
    unwind_ns: int | None


def marks_of(line: ChangeLine) -> Marks:
    """The marks that ``line`` was made with."""
    return Marks(**{name: getattr(line, name) for name in _NAMES})


def change_of(line: TransactionLine, steps: Sequence[Values], marks: Marks) -> ChangeLine:
    """The line for a transaction with the values of its ``steps``."""
    shares = _shares(line, steps)
    return ChangeLine(
        transaction_id=line.transaction_id,
        target=line.target,
        kind=line.kind,
        state=line.state,
        begun_seq=marks.begun_seq or line.begun_seq,
        begun_at=marks.begun_at or line.begun_at,
        last_seq=line.last_seq,
        ended_seq=marks.ended_seq,
        ended_at=line.ended_at,
        uid=line.uid,
        login=line.login,
        login_uid=line.login_uid,
        from_release=line.from_release,
        to_release=line.to_release,
        reason=line.reason,
        ticket=line.ticket,
        cause=line.cause,
        approval=marks.approval,
        approved_by=marks.approved_by,
        approved_at=marks.approved_at,
        approval_meaning=marks.approval_meaning,
        planned_by=marks.planned_by,
        planned_at=marks.planned_at,
        settle_by=marks.settle_by,
        window=marks.window,
        window_name=marks.window_name,
        basis=marks.basis,
        recovered=line.recovered,
        duration_ns=line.duration_ns,
        downtime_ns=line.downtime_ns,
        down_at=marks.down_at,
        stop_ns=shares.get("stop_ns"),
        snapshot_ns=shares.get("snapshot_ns"),
        remount_ns=shares.get("remount_ns"),
        start_ns=shares.get("start_ns"),
        health_ns=shares.get("health_ns"),
        undo_ns=shares.get("undo_ns"),
        other_ns=shares.get("other_ns"),
        unwind_at=marks.unwind_at,
        unwind_clock=marks.unwind_clock,
        unwind_ns=marks.unwind_ns,
    )


def _shares(line: TransactionLine, steps: Sequence[Values]) -> dict[str, int]:
    """Where the downtime went; nothing where there was none."""
    downtime_ns = line.downtime_ns
    if downtime_ns is None or line.state not in (State.COMMITTED, State.ROLLED_BACK):
        return {}
    shares = dict.fromkeys(SHARES.values(), 0)
    undo_ns = 0
    for step in steps:
        name = SHARES.get(step["kind"])
        if name is not None:
            shares[name] += step["duration_ns"] or 0
            undo_ns += step["undo_duration_ns"] or 0
    spent = sum(shares.values()) + undo_ns
    return {**shares, "undo_ns": undo_ns, "other_ns": max(0, downtime_ns - spent)}


@dataclass(frozen=True, slots=True)
class TurnLine:
    """Record ``seq`` is of the moment ``at``, and the one before it, if there is one, of a later moment.

    Between two turns, time goes on as records do.
    """

    seq: int
    at: str
