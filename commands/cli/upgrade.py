"""``rootswap upgrade`` and ``rootswap rollback``: the switch of a jail to another release."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from commands.cli.options import (
    DryRunOption,
    EmergencyOption,
    ExitCodeOption,
    OutputOption,
    ReasonOption,
    TicketOption,
    require_dry_run,
)
from commands.cli.output import Format

if TYPE_CHECKING:
    from collections.abc import Sequence

    from commands.cli.transact import Work
    from commands.transactions.plan import Plan, Purpose
    from commands.transactions.run import Outcome
    from ledger.errors import RootswapError

_NOTHING = "nothing to do"


def upgrade(
    ctx: typer.Context,
    jails: Annotated[list[str], typer.Argument(metavar="JAIL...", help="The jails to upgrade.")],
    to: Annotated[str | None, typer.Option("--to", metavar="RELEASE", help="Not the latest release, but this.")] = None,
    parallel: Annotated[bool, typer.Option("--parallel", help="All at once, not one after the other.")] = False,
    dry_run: DryRunOption = False,
    exit_code: ExitCodeOption = False,
    reason: ReasonOption = None,
    ticket: TicketOption = None,
    emergency: EmergencyOption = False,
    output: OutputOption = Format.TABLE,
) -> int:
    """Bring jails to the latest release of their template.

    The first upgrade of a jail deploys it. The new root is staged while the old one serves; if it fails its health
    check, the old one is put back. Several jails go one after the other, up to the first that fails; then what became
    of each is told.

    Example: rootswap upgrade web --reason "openssl CVE-2026-1" --ticket OPS-7
    """
    from commands.cli import transact
    from commands.errors import UsageError
    from commands.transactions.plan import Purpose

    require_dry_run(dry_run, exit_code)
    if len(set(jails)) != len(jails):
        raise UsageError("cannot upgrade a jail twice at a time", remedy="name each jail once")
    purpose = Purpose(reason=reason, ticket=ticket, is_emergency=emergency)
    if dry_run:
        with transact.at_work(ctx) as work:
            plans = _plans(work, jails, to)
        transact.show_plans(plans, output, _NOTHING)
        return transact.CHANGES_PENDING if plans and exit_code else 0
    with transact.at_work(ctx) as work:
        if parallel:
            plans = _plans(work, jails, to)
            for plan in plans:
                work.session.gatekeeper.check(plan, purpose)
            tally = _all_at_once(work, plans, purpose)
            tally.alike = [jail for jail in jails if all(plan.target != f"jail:{jail}" for plan in plans)]
        else:
            _require_admitted(work, jails, to, purpose)
            tally = _one_by_one(work, jails, to, purpose)
    _report(jails, tally, output)
    return 0


def rollback(
    ctx: typer.Context,
    jail: Annotated[str, typer.Argument(metavar="JAIL", help="The jail to roll back.")],
    dry_run: DryRunOption = False,
    exit_code: ExitCodeOption = False,
    reason: ReasonOption = None,
    ticket: TicketOption = None,
    emergency: EmergencyOption = False,
    output: OutputOption = Format.TABLE,
) -> int:
    """Bring a jail back to where it was before its last upgrade.

    The release and the configuration go back; the data in its volumes stays as it is.

    Example: rootswap rollback web --reason "logins fail since noon"
    """
    from commands.cli import transact
    from commands.transactions.plan import Purpose

    require_dry_run(dry_run, exit_code)
    purpose = Purpose(reason=reason, ticket=ticket, is_emergency=emergency)
    with transact.at_work(ctx) as work:
        plan = work.session.requests.rollback(jail)
        done = [] if dry_run else [(plan, work.session.engine.execute(plan, purpose))]
    if dry_run:
        transact.show_plans([plan], output, _NOTHING)
        return transact.CHANGES_PENDING if exit_code else 0
    transact.report(done, output, _NOTHING)
    return 0


def _require_admitted(work: "Work", jails: "Sequence[str]", to: str | None, purpose: "Purpose") -> None:
    """Raise what the policy has against any of several jails before the first of them is touched."""
    from commands.errors import Refused

    for jail in jails if len(jails) > 1 else ():
        try:
            work.session.gatekeeper.check_target("upgrade", f"jail:{jail}", purpose)
        except Refused:
            if work.session.requests.upgrade(jail, to) is not None:
                raise


def _plans(work: "Work", jails: "Sequence[str]", to: str | None) -> "list[Plan]":
    """The plans of the jails that are not yet as wanted."""
    wished = [work.session.requests.upgrade(jail, to) for jail in jails]
    return [plan for plan in wished if plan is not None]


@dataclass(slots=True)
class _Tally:
    """What became of several jails. ``alike`` were as wanted; ``failed`` could not be begun, or were not finished."""

    done: "list[tuple[Plan, Outcome]]" = field(default_factory=list)
    alike: list[str] = field(default_factory=list)
    failed: "dict[str, RootswapError]" = field(default_factory=dict)

    def fate(self, jail: str) -> str:
        """One word or two for people."""
        outcome = next((outcome for _, outcome in self.done if outcome.target == f"jail:{jail}"), None)
        if outcome is not None:
            return {"committed": "done", "rejected": "not started"}.get(outcome.state, outcome.state.replace("-", " "))
        if jail in self.failed:
            return f"not done: {self.failed[jail].message}"
        return _NOTHING if jail in self.alike else "not started"


def _report(jails: "Sequence[str]", tally: _Tally, format: Format) -> None:
    """Print what was done. Raises the first error, having told what became of every single jail."""
    from commands.cli import transact
    from commands.cli.output import note
    from ledger.errors import RootswapError

    try:
        for error in tally.failed.values():
            transact.show_committed(tally.done, format)
            raise error
        transact.report(tally.done, format, _NOTHING)
    except RootswapError as error:
        if len(jails) > 1:
            fates = {jail: tally.fate(jail) for jail in jails}
            error.details = {**transact.accounts(tally.done), "jails": fates}
            width = max(map(len, jails))
            for jail, fate in fates.items():
                note(f"{jail:{width}}  {fate}")
        raise


def _one_by_one(work: "Work", jails: "Sequence[str]", to: str | None, purpose: "Purpose") -> _Tally:
    from commands.errors import Interrupted
    from ledger.errors import RootswapError
    from ledger.lifecycle import State

    tally = _Tally()
    for jail in jails:
        try:
            if work.interrupt.signal is not None:
                raise Interrupted(f"cannot upgrade {jail}: interrupted by {work.interrupt.signal} before it was begun")
            plan = work.session.requests.upgrade(jail, to)
            if plan is None:
                tally.alike.append(jail)
                continue
            outcome = work.session.engine.execute(plan, purpose)
        except RootswapError as error:
            tally.failed[jail] = error
            break
        tally.done.append((plan, outcome))
        if outcome.state is not State.COMMITTED:
            break
    return tally


def _all_at_once(work: "Work", plans: "Sequence[Plan]", purpose: "Purpose") -> _Tally:
    """One thread for each jail on the one engine; the worst end comes first, for it decides the exit code."""
    from concurrent.futures import ThreadPoolExecutor

    from ledger.errors import RootswapError
    from ledger.lifecycle import State

    tally = _Tally()
    if not plans:
        return tally
    with ThreadPoolExecutor(len(plans), thread_name_prefix="upgrade") as threads:
        futures = [(plan, threads.submit(work.session.engine.execute, plan, purpose)) for plan in plans]
    for plan, future in futures:
        try:
            tally.done.append((plan, future.result()))
        except RootswapError as error:
            tally.failed[plan.target.partition(":")[2]] = error
    badness = {State.STUCK: 0, State.ROLLED_BACK: 1, State.REJECTED: 1, State.COMMITTED: 2}
    tally.done.sort(key=lambda one: badness[one[1].state])
    return tally
