"""What the verbs that only read have in common: opening the ledger, finding what was named, times and lines."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from commands.cli.output import Cell, Format, Table, local_time, show

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from commands.config import Config
    from ledger.lock import Holder
    from ledger.reader import LedgerReader
    from projections.history import TransactionLine

UtcOption = Annotated[bool, typer.Option("--utc", help="Show times in UTC.")]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LOCK_BYTES = 1 << 16
_NOT_SHOWN = ("transaction_id", "before", "after")


@contextmanager
def open_ledger(config: "Config") -> Iterator["LedgerReader"]:
    """The ledger, to read. Raises NotRoot where only the lack of rights is in the way."""
    from pathlib import Path

    from commands.errors import NotRoot
    from ledger.errors import LedgerUnusable
    from ledger.reader import LedgerReader

    directory = Path(config.ledger_directory)
    try:
        reader = LedgerReader.open(directory)
    except (PermissionError, LedgerUnusable) as error:
        if os.geteuid() == 0:
            raise
        raise NotRoot(
            f"cannot read the ledger in {directory} as this user", remedy="run it as root: sudo rootswap …"
        ) from error
    with reader:
        yield reader


def find_transaction(reader: "LedgerReader", prefix: str) -> str:
    """The one transaction whose identifier starts with ``prefix``. Raises UsageError."""
    from commands.errors import UsageError
    from projections.queries import find_transactions

    found = find_transactions(reader, prefix) if prefix else []
    if prefix in found:
        return prefix
    if not found:
        raise UsageError(f"cannot find transaction {prefix[:60]!r}", remedy="see `rootswap tx list --limit 0`")
    if len(found) > 1:
        named = ", ".join(found[:5]) + (", …" if len(found) > 5 else "")
        raise UsageError(f"cannot choose a transaction: {prefix!r} may be {named}", remedy="give more of its letters")
    return found[0]


def find_target(reader: "LedgerReader", config: "Config", wanted: str) -> str:
    """The target that is called ``wanted``: KIND:NAME, or a name that only one target has. Raises UsageError."""
    from commands.errors import UsageError

    known = {row.target for row in reader.transactions()} | {"pool:main"}
    known |= {f"jail:{name}" for name in config.jail} | {f"template:{name}" for name in config.template}
    found = sorted(target for target in known if wanted in (target, target.partition(":")[2]))
    if len(found) == 1:
        return found[0]
    if not found:
        remedy = f"known targets: {', '.join(sorted(known))}"
        raise UsageError(f"cannot find target {wanted[:60]!r}", remedy=remedy)
    raise UsageError(f"cannot choose a target: {wanted} may be {', '.join(found)}", remedy="name it as KIND:NAME")


def engine_at_work(reader: "LedgerReader") -> "Holder | None":
    """The engine that holds the ledger, by what it wrote into the lock file; None if it is gone."""
    import json

    from ledger.lock import LOCK_FILE, Holder

    try:
        found = json.loads((reader.path.parent / LOCK_FILE).read_bytes()[:_LOCK_BYTES])
        started = found["started"]
        argv = tuple(str(word) for word in found["argv"])
        holder = Holder(int(found["pid"]), argv, str(found["at"]), None if started is None else str(started))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return holder if holder.is_alive else None


def engine_named(reader: "LedgerReader") -> str | None:
    """The engine at work, as people call it: its process and its command line."""
    engine = engine_at_work(reader)
    return None if engine is None else f"{engine.pid} ({' '.join(engine.argv)})"


def moment(text: str, now: datetime) -> str:
    """``2h`` (ago) or an RFC 3339 time, in UTC as the ledger spells it. Raises UsageError."""
    from commands.errors import UsageError

    try:
        if text[-1:] in _UNITS and text[:-1].isdecimal():
            at = now - timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]])
        else:
            at = datetime.fromisoformat(text)
        return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"cannot understand the time {text[:60]!r}", remedy="write 30m, 2h, 7d, or 2026-11-23T22:00:00+01:00"
        ) from error


def when(at: str | None, utc: bool, *, is_precise: bool = False) -> str | None:
    """A recorded time for people: local with its offset, or UTC; to the second, or to the millisecond."""
    if at is None or not utc:
        return at and local_time(at, is_precise=is_precise)
    return f"{at[:10]} {at[11:23] if is_precise else at[11:19]}Z"


def change(before: str | None, after: str | None) -> str | None:
    """The two ends of a change, for people."""
    if before is None and after is None:
        return None
    return before if before == after else f"{before or 'nothing'} → {after or 'nothing'}"


def change_of(line: "TransactionLine") -> str | None:
    """What a transaction changes, for people; an upgrade that keeps the release is one of the configuration."""
    told = change(line.from_release, line.to_release)
    is_alike = line.from_release == line.to_release and line.kind in ("upgrade", "rollback")
    return f"{told}, configuration only" if told and is_alike else told


def transaction_keys() -> tuple[str, ...]:
    """The keys of ``transaction_data``."""
    from projections.history import TransactionLine

    plain = (name for name in keys_of(TransactionLine) if name not in _NOT_SHOWN)
    return ("transaction", *plain, "from_release", "to_release")


def transaction_data(line: "TransactionLine") -> dict[str, object]:
    """A transaction for machines."""
    plain = {name: value for name, value in asdict(line).items() if name not in _NOT_SHOWN}
    return {
        "transaction": line.transaction_id,
        **plain,
        "from_release": line.from_release,
        "to_release": line.to_release,
    }


def show_lines(format: Format, items: Sequence[Mapping[str, object]], keys: Sequence[str], table: Table) -> None:
    """Print a list: ``items``, which have ``keys``, to machines, in CSV and TSV as well; ``table`` to people."""
    if format in (Format.CSV, Format.TSV):
        table = Table(tuple(keys), [[_cell(item[key]) for key in keys] for item in items])
    show(format, list(items), table)


def keys_of(line: type["DataclassInstance"]) -> tuple[str, ...]:
    """The keys of a line that is printed as it is."""
    return tuple(field.name for field in fields(line))


def _cell(value: object) -> Cell:
    match value:
        case bool():
            return str(value).lower()
        case list() | tuple():
            return " ".join(str(item) for item in value)
        case str() | int() | float() | None:
            return value
        case _:
            return str(value)
