"""``rootswap plan``, ``plans``, ``approve``, ``reject`` and ``run``: a change that one plans and another approves."""

from typing import TYPE_CHECKING, Annotated

import typer

from commands.cli.options import EmergencyOption, OutputOption, ReasonOption, TicketOption, read_config
from commands.cli.output import Cell, Format, Table, show
from commands.cli.reading import UtcOption, open_ledger, show_lines, when

if TYPE_CHECKING:
    from commands.bootstrap import Session
    from commands.cli.waiting import WaitingLine
    from commands.transactions.plan import Plan
    from commands.transactions.proposals import Answered
    from ledger.reader import LedgerReader

PlanArgument = Annotated[str, typer.Argument(metavar="PLAN", help="The plan, or how its identifier begins.")]
WhyOption = Annotated[str, typer.Option("--reason", help="Why, for the ledger.")]


def plan(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="JAIL", help="The jail; with --destroy, the release.")],
    to: Annotated[str | None, typer.Option("--to", metavar="RELEASE", help="Not the latest release, but this.")] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Plan a rollback instead.")] = False,
    start: Annotated[bool, typer.Option("--start", help="Plan to start the jail.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Plan to stop the jail.")] = False,
    destroy: Annotated[bool, typer.Option("--destroy", help="Plan to destroy a release.")] = False,
    reason: ReasonOption = None,
    ticket: TicketOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Record a plan: an upgrade unless an option says otherwise. It changes nothing until it is run.

    What is approved is exactly what is run: every step is in the record. If anything that the plan builds upon changes,
    the plan cannot be run any more.

    Example: rootswap plan web --to debian@7k3mq2xa --reason "openssl CVE-2026-1" --ticket OPS-7
    """
    from commands.cli import transact
    from commands.errors import UsageError
    from commands.transactions.plan import Purpose
    from commands.transactions.rehearsal import rehearse

    kinds = {"rollback": rollback, "start": start, "stop": stop, "destroy": destroy, "to": to is not None}
    chosen = [kind for kind, is_chosen in kinds.items() if is_chosen]
    if len(chosen) > 1:
        raise UsageError(f"cannot plan --{' and --'.join(chosen)} at once", remedy="make a plan of each")
    made, recorded = None, None
    with transact.at_work(ctx) as work:
        made = _wished(work.session, chosen[0] if chosen else "to", name, to)
        if made is not None:
            rehearse(made)
            recorded = work.session.proposals.propose(made, Purpose(reason=reason, ticket=ticket))
    if made is None or recorded is None:
        show(output, {"changed": False, "plan": None}, "nothing to do")
        return
    data = {
        "changed": True,
        "transaction": made.transaction,
        "approval_required": recorded.required,
        "expires_at": recorded.expires_at,
        "plan": transact.plan_data(made),
    }
    run = f"rootswap run {made.transaction}"
    approve = f'another login: rootswap approve {made.transaction} --reason "…"\n  then '
    until = when(recorded.expires_at, False)
    said = f"recorded as plan {made.transaction}, until {until}\n  → {approve if recorded.required else ''}{run}"
    show(output, data, f"{transact.plan_text(made)}\n{said}")


def plans(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="PLAN", help="Show one with every step.")] = None,
    output: OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> None:
    """List what waits for a person's word: plans, and emergencies that nobody has answered for yet.

    Example: rootswap plans
    """
    from commands.cli.waiting import WaitingLine, waiting_lines
    from ledger.clock import SystemClock

    with open_ledger(read_config(ctx)) as reader:
        lines = waiting_lines(reader, SystemClock().now())
        if name is not None:
            _show_one(reader, _chosen(lines, name), output, utc)
            return
    keys = tuple(WaitingLine.__dataclass_fields__)
    rows: list[list[Cell]] = [
        [line.transaction, line.kind, line.target, line.state, line.by, when(line.since, utc), when(line.until, utc),
         line.approved_by, line.reason]
        for line in lines
    ]  # fmt: skip
    columns = ("plan", "kind", "target", "state", "by", "since", "until", "approved by", "reason")
    items = [{key: getattr(line, key) for key in keys} for line in lines]
    show_lines(output, items, keys, Table(columns, rows, "nothing waits"))


def approve(
    ctx: typer.Context,
    name: PlanArgument,
    reason: WhyOption,
    output: OutputOption = Format.TABLE,
) -> None:
    """Approve a plan that waits, or answer for an emergency: from another login than the one that made it.

    Who you are is what the kernel knows of your login, not what the environment says.

    Example: rootswap approve 7k3m --reason "read the plan, tested on staging"
    """
    from commands.cli.transact import at_work

    with at_work(ctx, begins=False) as work:
        answered = work.session.proposals.approve(name, reason)
    _show_answer(answered, output)


def reject(
    ctx: typer.Context,
    name: PlanArgument,
    reason: WhyOption,
    output: OutputOption = Format.TABLE,
) -> None:
    """Reject a plan that waits, your own too, or disapprove of an emergency.

    Example: rootswap reject 7k3m --reason "not before the week-end"
    """
    from commands.cli.transact import at_work

    with at_work(ctx, begins=False) as work:
        answered = work.session.proposals.reject(name, reason)
    _show_answer(answered, output)


def run_plan(
    ctx: typer.Context,
    name: PlanArgument,
    reason: ReasonOption = None,
    emergency: EmergencyOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Run a plan exactly as it was recorded.

    The host is looked at again first. Where a new plan would be another one, the old one is refused.

    Example: rootswap run 7k3m
    """
    from commands.cli import transact

    with transact.at_work(ctx) as work:
        ready, purpose = work.session.proposals.ready(name)
        said = {"is_emergency": emergency, "reason": reason or purpose.reason}
        outcome = work.session.engine.execute(ready, purpose.model_copy(update=said))
    transact.report([(ready, outcome)], output, "nothing to do")


# --- what they have in common -----------------------------------------------------------------------------------------


def _wished(session: "Session", kind: str, name: str, release: str | None) -> "Plan | None":
    match kind:
        case "rollback":
            return session.requests.rollback(name)
        case "start":
            return session.requests.start(name)
        case "stop":
            return session.requests.stop(name)
        case "destroy":
            return session.requests.destroy_release(name)
        case _:
            return session.requests.upgrade(name, release)


def _show_answer(answered: "Answered", format: Format) -> None:
    whose = "your own " if answered.basis == "self" else ""
    late = ", late" if answered.is_late else ""
    what = f"{answered.kind} of {answered.target.partition(':')[2]}"
    if answered.is_retroactive:
        text = f"{whose}emergency {answered.transaction} ({what}) is {answered.answer}{late}"
    else:
        text = f"{whose}plan {answered.transaction} ({what}) is {answered.answer}"
        if answered.answer == "approved":
            text += f"; next: rootswap run {answered.transaction}"
    data = {
        "changed": True,
        "transaction": answered.transaction,
        "kind": answered.kind,
        "target": answered.target,
        "answer": answered.answer,
        "basis": answered.basis,
        "retroactive": answered.is_retroactive,
        "late": answered.is_late,
    }
    show(format, data, text)


def _chosen(lines: "list[WaitingLine]", prefix: str) -> "WaitingLine":
    from commands.errors import UsageError

    found = [line for line in lines if prefix and line.transaction.startswith(prefix)]
    if len(found) != 1:
        cause = f"it may be {', '.join(line.transaction for line in found)}" if found else "none that waits begins so"
        raise UsageError(f"cannot find plan {prefix[:60]!r}: {cause}", remedy="see `rootswap plans`")
    return found[0]


def _show_one(reader: "LedgerReader", line: "WaitingLine", format: Format, utc: bool) -> None:
    """A plan with every step of it: what an approver has to read."""
    from commands.cli.transact import plan_data, plan_text
    from commands.transactions.plan import plan_from_json
    from projections.fields import body, inner

    first = next(reader.records(transaction=line.transaction, limit=1))
    made = plan_from_json(inner(body(first), "plan"))
    data = {key: getattr(line, key) for key in line.__dataclass_fields__}
    said = f"reason: {line.reason or '-'}\nticket: {line.ticket or '-'}\n"
    text = f"{plan_text(made)}\n{said}{line.sentence(utc)}\n  → {line.remedy}"
    show(format, {**data, "plan": plan_data(made)}, text)
