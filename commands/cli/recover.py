"""``rootswap recover`` and ``rootswap resolve``: after a crash, and when a person has to decide."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from commands.cli.options import OutputOption, TicketOption, YesOption, confirm
from commands.cli.output import Format, note, show

if TYPE_CHECKING:
    from commands.bootstrap import Session
    from commands.cli.transact import Say
    from commands.config import Config
    from commands.recovery.recover import Recovery
    from commands.transactions.engine import Observer
    from commands.transactions.interrupt import Interrupt
    from commands.transactions.run import Outcome
    from ledger.errors import LedgerLocked

#: How long a command of a killed engine may go on before it is ended.
PATIENCE_S = 5.0
_POLL_S = 0.1


class Choice(StrEnum):
    """What becomes of a stuck transaction."""

    CONTINUE = "continue"
    UNWIND = "unwind"
    ACCEPT_PLANNED = "accept-planned"
    ACCEPT_BEFORE = "accept-before"


_MEANINGS = {
    Choice.CONTINUE: "go on with it, looking before each step",
    Choice.UNWIND: "take it back, looking before each step",
    Choice.ACCEPT_PLANNED: "touch nothing and record that the host is as planned",
    Choice.ACCEPT_BEFORE: "touch nothing and record that the host is as before",
}


def recover(ctx: typer.Context, output: OutputOption = Format.TABLE) -> None:
    """Settle what a crash or a reboot has left open.

    What a reboot took away (mounts, running jails) is put back. Running it when all is well changes nothing. A command
    that a killed engine left behind is waited for, and then ended.

    Example: rootswap recover
    """
    from commands.cli.transact import at_work

    with at_work(ctx, patiently, begins=False) as work:
        recovery = work.session.recoverer.recover()
        causes = [f"{name}: {work.session.ledger.status(name).cause}" for name in recovery.stuck]
    _report(recovery, causes, output)


def resolve(
    ctx: typer.Context,
    transaction: Annotated[str, typer.Argument(metavar="TX", help="The transaction, or how it begins.")],
    choice: Annotated[Choice, typer.Option("--choice", help="What becomes of it.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for the ledger.")],
    yes: YesOption = False,
    ticket: TicketOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Decide what becomes of a transaction that is stuck.

    continue: go on with it; unwind: take it back; both look before each step. accept-planned, accept-before: touch
    nothing and take your word that the host is as planned, or as before.

    Example: rootswap resolve 7k3m --choice unwind --reason "the foreign mount is gone"
    """
    from commands.cli.transact import account, at_work, name_of, require_root
    from commands.transactions.plan import plan_from_json
    from ledger.lifecycle import State

    require_root()
    confirm(f"Resolve transaction {transaction}: {_MEANINGS[choice]}?", is_agreed=yes)
    why = f"{reason} [{ticket}]" if ticket else reason
    with at_work(ctx, begins=False) as work:
        found = _one_of(work.session, transaction)
        plan = plan_from_json(work.session.ledger.status(found).plan)
        by = work.session.gatekeeper.person.login
        outcome = work.session.recoverer.resolve(found, choice.value, by, why)
    wished = State.COMMITTED if choice in (Choice.CONTINUE, Choice.ACCEPT_PLANNED) else State.ROLLED_BACK
    if outcome.state is not wished:
        outcome.raise_unless_committed()
    text = f"{name_of(plan)}: transaction {found} is {outcome.state.value.replace('-', ' ')} (your decision: {choice})"
    show(output, {"changed": True, "transactions": [account(plan, outcome)]}, text)


# --- recover ----------------------------------------------------------------------------------------------------------


@contextmanager
def patiently(config: "Config", interrupt: "Interrupt", observer: "Observer", say: "Say") -> "Iterator[Session]":
    """A session; what a killed engine has left running is waited for, and then ended.

    Raises LedgerLocked when another engine is alive, or when a command cannot be ended.
    """
    from commands import bootstrap
    from commands.drivers.orphans import end_orphans, find_orphans
    from commands.errors import Interrupted
    from ledger.errors import LedgerLocked

    deadline = time.monotonic() + PATIENCE_S
    is_told = is_ended = False
    with ExitStack() as stack:
        session: Session | None = None
        while session is None:
            try:
                session = stack.enter_context(bootstrap.open_session(config, interrupt=interrupt, observer=observer))
                continue
            except LedgerLocked as error:
                _give_up_if(error.holder_alive or is_ended, error)
                lock = error.lock_path
            if interrupt.signal is not None:
                raise Interrupted(f"cannot recover: interrupted by {interrupt.signal} before it was begun")
            if not is_told:
                is_told = True
                for orphan in find_orphans(lock):
                    say(f"rootswap: a killed engine has left process {orphan.pid} running: {orphan.command}")
                say(f"rootswap: waiting {PATIENCE_S:g} s for it to end by itself")
            if time.monotonic() < deadline:
                time.sleep(_POLL_S)
                continue
            say("rootswap: ending it")
            end_orphans(lock)
            is_ended = True
        yield session


def _give_up_if(is_hopeless: bool, error: "LedgerLocked") -> None:
    if is_hopeless:
        raise error


def _report(recovery: "Recovery", causes: list[str], format: Format) -> None:
    """Print what recovery did. Raises TransactionIsStuck when a person has to decide."""
    from commands.errors import TransactionFailed, TransactionIsStuck
    from commands.remedies import for_stuck
    from ledger.lifecycle import State

    if recovery.stuck:
        raise TransactionIsStuck(
            f"cannot settle {'; nor '.join(causes)}",
            remedy=for_stuck(recovery.stuck[0]),
        )
    lines = []
    for what, outcomes in (("settled", recovery.settled), ("restored", recovery.restored)):
        for outcome in outcomes:
            cause = f": {outcome.cause}" if outcome.cause else ""
            name = outcome.target.partition(":")[2]
            lines.append(f"{what} {name}: transaction {outcome.transaction} {outcome.state.replace('-', ' ')}{cause}")
    data = {
        "settled": [_outcome(outcome) for outcome in recovery.settled],
        "restored": [_outcome(outcome) for outcome in recovery.restored],
        "stuck": list(recovery.stuck),
    }
    for warning in recovery.warnings:
        note(f"rootswap: a leftover stays: {warning}")
    for outcome in recovery.restored:
        if outcome.state is not State.COMMITTED:
            raise TransactionFailed(
                f"cannot restore {outcome.target.partition(':')[2]}: {outcome.cause}",
                remedy="mend the cause, then run `rootswap recover` again; see `rootswap status`",
            )
    show(format, data, "\n".join(lines) or "nothing to recover")


def _outcome(outcome: "Outcome") -> dict[str, object]:
    return {
        "transaction": outcome.transaction,
        "target": outcome.target,
        "state": outcome.state.value,
        "cause": outcome.cause,
        "downtime_ns": outcome.downtime_ns,
        "duration_ns": outcome.duration_ns,
    }


# --- resolve ----------------------------------------------------------------------------------------------------------


def _one_of(session: "Session", prefix: str) -> str:
    """The open transaction whose identifier begins with ``prefix``. Raises UsageError."""
    from commands.errors import UsageError

    found = [name for name in session.ledger.open_transactions() if name.startswith(prefix)]
    if len(found) == 1:
        return found[0]
    cause = f"{', '.join(sorted(found))} begin with it" if found else "no open transaction begins with it"
    raise UsageError(f"cannot resolve transaction {prefix[:60]!r}: {cause}", remedy="see `rootswap tx list`")
