"""``tx``: the transactions, open and past."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from commands.cli import options
from commands.cli.output import Cell, Format, Table, duration, fitted, note, show, stream
from commands.cli.reading import (
    UtcOption,
    change,
    change_of,
    engine_at_work,
    find_target,
    find_transaction,
    open_ledger,
    show_lines,
    transaction_data,
    transaction_keys,
    when,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.clock import Clock
    from ledger.reader import LedgerReader
    from projections.history import Story, TransactionLine
    from projections.steps import StepLine
    from projections.timeline import LogLine

#: Up to so many are read from the ledger itself; for more, the projections are quicker.
FEW = 100
POLL_S = 0.1
#: How often an open transaction must be found without an engine before we say that nobody works on it.
PATIENCE = 10
COMMITTED, NOT_COMMITTED, OPERATOR = 0, 1, 3

TransactionArgument = Annotated[
    str, typer.Argument(metavar="TX", help="A transaction, or the first letters of its identifier.")
]


# --- tx list ----------------------------------------------------------------------------------------------------------


def list_transactions(
    ctx: typer.Context,
    open_only: Annotated[bool, typer.Option("--open", help="Only those that have not ended.")] = False,
    target: Annotated[str | None, typer.Option("--target", help="Only those of one jail, template, …")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="How many, newest first; 0 for all.")] = 20,
    output: options.OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> None:
    """List transactions, newest first."""
    config = options.read_config(ctx)
    with open_ledger(config) as reader:
        wanted = None if target is None else find_target(reader, config, target)
        lines = _select(reader, wanted, open_only, limit)
    columns = ("transaction", "kind", "target", "state", "begun", "by", "took", "downtime", "change", "reason")
    rows: list[list[Cell]] = [
        [
            line.transaction_id,
            line.kind,
            line.target,
            line.state,
            when(line.begun_at, utc),
            line.login,
            duration(line.duration_ns),
            duration(line.downtime_ns),
            change_of(line),
            line.reason,
        ]
        for line in lines
    ]
    empty = "no transaction is open" if open_only else "no transactions yet: `rootswap init` begins the first one"
    show_lines(output, [transaction_data(line) for line in lines], transaction_keys(), Table(columns, rows, empty))


def _select(reader: "LedgerReader", target: str | None, open_only: bool, limit: int) -> list["TransactionLine"]:
    from projections.queries import all_transactions, recent_transactions

    if open_only or 0 < limit <= FEW:
        return recent_transactions(reader, target=target, open_only=open_only, limit=limit or None)
    from projections.projector import open_projector

    with open_projector(reader) as projector:
        return all_transactions(projector, target=target, limit=limit or None)


# --- tx show ----------------------------------------------------------------------------------------------------------


def show_transaction(
    ctx: typer.Context,
    transaction: TransactionArgument,
    output: options.OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> None:
    """Show a transaction with every step of it: what was done, what was taken back, what went wrong."""
    from projections.queries import story

    with open_ledger(options.read_config(ctx)) as reader:
        name = find_transaction(reader, transaction)
        told = story(reader, name)
        words = plan_words(reader, name)
    if told is None:
        from ledger.errors import LedgerNewer

        raise LedgerNewer(f"cannot show transaction {name}: its first record is of a newer version")
    steps = [_step_data(step, words.get(step.step, ("", ""))) for step in told.steps]
    if output in (Format.CSV, Format.TSV):
        show_lines(output, steps, tuple(steps[0]) if steps else ("step",), Table((), []))
    else:
        show(output, {**transaction_data(told.line), "steps": steps}, _text(told, words, utc))


def plan_words(reader: "LedgerReader", transaction: str) -> dict[int, tuple[str, str]]:
    """What each step of the plan does, and its undo, in words; empty where a newer version made the plan."""
    from commands.transactions.plan import plan_from_json
    from ledger.errors import LedgerNewer
    from projections.fields import body, inner

    first = next(reader.records(transaction=transaction, limit=1), None)
    try:
        plan = plan_from_json(inner(body(first), "plan")) if first else None
    except LedgerNewer:
        return {}
    steps = plan.steps if plan else ()
    return {place: (step.forward_words(), step.undo_words()) for place, step in enumerate(steps, 1)}


def _step_data(step: "StepLine", words: tuple[str, str]) -> dict[str, object]:
    plain = {name: value for name, value in asdict(step).items() if name != "transaction_id"}
    return {**plain, "words": words[0] or None, "undo_words": words[1] or None}


def _text(told: "Story", words: dict[int, tuple[str, str]], utc: bool) -> str:
    columns = ("#", "step", "state", "try", "started", "took", "change", "undo")
    rows: list[list[Cell]] = [
        [
            step.step,
            step.kind,
            step.state,
            step.attempt or None,
            when(step.started_at, utc, is_precise=True),
            duration(step.duration_ns),
            change(step.before, step.after),
            duration(step.undo_duration_ns) if step.undo_attempt else None,
        ]
        for step in told.steps
    ]
    parts = [_heading(told.line, utc), fitted(Table(columns, rows, "the plan has no steps"))]
    errors = [f"step {step.step} {step.kind}: {step.error}\n" for step in told.steps if step.error]
    errors += [f"undo of step {step.step} {step.kind}: {step.undo_error}\n" for step in told.steps if step.undo_error]
    if errors:
        parts.append("".join(errors))
    if words:
        plan = (f"{place:3d}. {forward}\n     undo: {undo}\n" for place, (forward, undo) in words.items())
        parts.append("plan:\n" + "".join(plan))
    return "\n".join(parts)


def _heading(line: "TransactionLine", utc: bool) -> str:
    login = "" if line.login_uid is None else f", login uid {line.login_uid}"
    facts = {
        "transaction": f"{line.transaction_id}, {line.kind} of {line.target}",
        "state": line.state,
        "cause": line.cause,
        "change": change_of(line),
        "begun": f"{when(line.begun_at, utc)} by {line.login} (uid {line.uid}{login}): {line.invoked}",
        "ended": when(line.ended_at, utc),
        "took": None if line.duration_ns is None else duration(line.duration_ns),
        "downtime": None if line.downtime_ns is None else duration(line.downtime_ns),
        "reason": line.reason,
        "ticket": line.ticket,
        "approved by": line.approved_by,
        "recovered": f"decisions of recovery: {line.recovered}" if line.recovered else None,
        "newer": f"{line.newer_events} records are of a newer rootswap and not shown" if line.newer_events else None,
    }
    return "".join(f"{name + ':':13}{fact}\n" for name, fact in facts.items() if fact)


# --- tx watch ---------------------------------------------------------------------------------------------------------


def watch(
    ctx: typer.Context,
    transaction: Annotated[str | None, typer.Argument(metavar="[TX]", help="The transaction to follow.")] = None,
    latest: Annotated[bool, typer.Option("--latest", help="The transaction that was begun last.")] = False,
    output: options.OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> int:
    """Follow a transaction until it ends; ^C detaches. Exits as the transaction did."""
    from ledger.clock import SystemClock

    def tell(line: "LogLine") -> bool:
        data = {name: value for name, value in asdict(line).items() if value is not None}
        outcome = f": {line.detail}" if line.detail else ""
        took = "" if line.duration_ns is None else f" ({duration(line.duration_ns)})"
        return stream(output, data, f"{when(line.at, utc, is_precise=True)}  {line.what}{took}{outcome}")

    with open_ledger(options.read_config(ctx)) as reader:
        name = _choose(reader, transaction, latest)
        try:
            return follow(reader, name, SystemClock(), lambda: engine_at_work(reader) is not None, tell)
        except KeyboardInterrupt:
            note(f"detached: transaction {name} goes on without being watched")
            return 0


def follow(
    reader: "LedgerReader",
    transaction: str,
    clock: "Clock",
    is_engine_alive: "Callable[[], bool]",
    tell: "Callable[[LogLine], bool]",
) -> int:
    """Tell every record of a transaction until it ends, nobody listens or no engine works on it; the exit code."""
    from commands.remedies import for_stuck
    from ledger.lifecycle import ENDS, State
    from projections.history import tell as fold
    from projections.timeline import entry

    story, seen, lonely = None, 0, 0
    while True:
        for record in reader.records(after=seen, transaction=transaction):
            story, seen, lonely = fold(story, record), record.seq, 0
            if not tell(entry(record)):
                return COMMITTED
        state = story.line.state if story else None
        if state in ENDS:
            return COMMITTED if state == State.COMMITTED else NOT_COMMITTED
        if state == State.STUCK:
            note(f"transaction {transaction} is stuck: {for_stuck(transaction)}")
            return OPERATOR
        lonely = 0 if is_engine_alive() else lonely + 1
        if lonely >= PATIENCE:
            note(f"transaction {transaction} is open and no engine works on it: run `rootswap recover`")
            return OPERATOR
        clock.sleep(POLL_S)


def _choose(reader: "LedgerReader", transaction: str | None, latest: bool) -> str:
    from commands.errors import UsageError

    if (transaction is None) != latest:
        raise UsageError("cannot choose a transaction: name one, or say --latest", remedy="see `rootswap tx list`")
    if transaction is not None:
        return find_transaction(reader, transaction)
    newest = reader.transactions(limit=1)
    if not newest:
        raise UsageError("cannot watch: there are no transactions yet", remedy="`rootswap init` begins the first one")
    return newest[0].transaction
