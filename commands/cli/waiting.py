"""What waits for a person's word: plans, and emergencies that nobody has answered for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from commands.cli.reading import when

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from ledger.codec import AnyRecord
    from ledger.index import TransactionRow
    from ledger.reader import LedgerReader


@dataclass(frozen=True, slots=True)
class WaitingLine:
    """A plan (``planned``, ``approved``, ``expired``, ``stale``) or an emergency (``owed``, ``overdue``).

    ``until`` is when the plan expires, or when the approval is due; ``by`` has planned or begun it. A plan is stale
    when its target was changed since it was made, by ``overtaken_by``: then it cannot be run any more.
    """

    transaction: str
    kind: str
    target: str
    state: str
    by: str
    since: str
    until: str
    approved_by: str | None
    required: bool
    reason: str | None
    ticket: str | None
    overtaken_by: str | None = None

    @property
    def remedy(self) -> str:
        """What to do about it."""
        match self.state:
            case "approved":
                return f"rootswap run {self.transaction}"
            case "expired":
                return f'rootswap reject {self.transaction} --reason "expired"'
            case "stale":
                return f'rootswap reject {self.transaction} --reason "stale"'
            case "planned" if not self.required:
                return f"rootswap run {self.transaction}"
            case _:
                return f'another login: rootswap approve {self.transaction} --reason "…"'

    def sentence(self, utc: bool) -> str:
        """For people, in one line."""
        what = f"{self.transaction}  {self.kind} of {self.target}"
        until = when(self.until, utc)
        match self.state:
            case "owed" | "overdue":
                due = f"due {until}" if self.state == "owed" else f"overdue since {until}"
                return f"{what} was an emergency of {self.by}, not approved yet, {due}"
            case "approved":
                return f"{what}, planned by {self.by}, approved by {self.approved_by}, waits to be run until {until}"
            case "expired":
                return f"{what}, planned by {self.by}, has expired at {until}; plan it anew"
            case "stale":
                cause = f"transaction {self.overtaken_by} has changed {self.target.partition(':')[2]} since"
                return f"{what}, planned by {self.by}, cannot be run any more: {cause}; plan it anew"
            case _:
                wish = "waits for approval" if self.required else "waits to be run"
                return f"{what}, planned by {self.by}, {wish} until {until}"


def waiting_lines(reader: "LedgerReader", now: "datetime") -> list[WaitingLine]:
    """All of them, the emergencies first, each kind oldest first."""
    from commands.policy.gate import stamp

    moment = stamp(now)
    owing = [_owing(row, next(_begun(reader, row)), moment) for row in reader.owing()]
    return owing + [_planned(reader, row, next(_begun(reader, row)), moment) for row in reader.waiting()]


def _begun(reader: "LedgerReader", row: "TransactionRow") -> "Iterator[AnyRecord]":
    return reader.records(after=row.begun_seq - 1, until=row.begun_seq)


def _planned(reader: "LedgerReader", row: "TransactionRow", record: "AnyRecord", now: str) -> WaitingLine:
    from projections.fields import body, flag, inner, text

    event = body(record)
    until = text(event, "expires_at") or ""
    last = reader.last_settled(row.target)
    overtaken_by = last.transaction if last is not None and last.seq > row.begun_seq else None
    return WaitingLine(
        transaction=row.transaction,
        kind=row.kind,
        target=row.target,
        state="expired" if now > until else "stale" if overtaken_by else row.state.value,
        by=text(inner(event, "by"), "login") or "unknown",
        since=record.at,
        until=until,
        approved_by=row.approval.by if row.approval else None,
        required=flag(event, "required") is not False,
        reason=row.reason,
        ticket=row.ticket,
        overtaken_by=overtaken_by,
    )


def _owing(row: "TransactionRow", record: "AnyRecord", now: str) -> WaitingLine:
    from projections.fields import body, inner, text

    until = row.owed or ""
    return WaitingLine(
        transaction=row.transaction,
        kind=row.kind,
        target=row.target,
        state="overdue" if now > until else "owed",
        by=text(inner(inner(body(record), "authority"), "by"), "login") or "unknown",
        since=record.at,
        until=until,
        approved_by=None,
        required=True,
        reason=row.reason,
        ticket=row.ticket,
    )
