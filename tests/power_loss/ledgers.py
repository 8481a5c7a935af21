"""What a ledger must be after a power cut, judged with the real reader and the real writer."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ledger import schema
from ledger.errors import LedgerDamaged, LedgerError, LedgerMissing
from ledger.reader import LedgerReader
from ledger.writer import LedgerWriter
from tests.ledger.fakes import ORIGIN, FakeClock, begun, started
from tests.power_loss.trace import Mark, Op, unpack

AFTERWARDS = "zzzz0001"


class Fault(StrEnum):
    """What may be wrong with a ledger after a power cut."""

    LOST = "acknowledged events are lost or changed"
    HALF = "holds what nobody has appended, or half a commit"
    BROKEN = "chain, index or pages are broken"
    UNREADABLE = "cannot be opened or read"
    UNWRITABLE = "takes no more events"
    UNEXPECTED = "raises what is no error of ours"
    UNINTENDED = "the host was changed without a durable intent"
    HOST = "after the recovery the host is neither as before nor as planned"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A fault and its circumstances."""

    fault: Fault
    cause: str


@dataclass(frozen=True, slots=True)
class Demand:
    """What an image of one moment must hold: every record of ``acknowledged``, and all or none of ``next_commit``."""

    acknowledged: tuple[bytes, ...]
    next_commit: tuple[bytes, ...]

    def compare(self, found: Sequence[bytes]) -> Verdict | None:
        """The fault of a ledger that holds ``found``."""
        known = (*self.acknowledged, *self.next_commit)
        if tuple(found[: len(self.acknowledged)]) != self.acknowledged:
            return Verdict(Fault.LOST, f"{len(found)} records of {len(self.acknowledged)}")
        if len(found) not in (len(self.acknowledged), len(known)) or tuple(found) != known[: len(found)]:
            return Verdict(Fault.HALF, f"{len(found)} records where {len(self.acknowledged)} or {len(known)} may be")
        return None


def demands(ops: Sequence[Op]) -> list[Demand]:
    """What each point of a trace demands, the one after its last operation included."""
    commits = [(point, _records(op)) for point, op in enumerate(ops) if isinstance(op, Mark) and op.kind == "ack"]
    found: list[Demand] = []
    said: tuple[bytes, ...] = ()
    ahead = [(point, commit) for point, commit in commits if commit]
    for point in range(len(ops)):
        if ahead and ahead[0][0] == point:
            said = _joined(said, ahead.pop(0)[1])
        coming = _joined(said, ahead[0][1])[len(said) :] if ahead else ()
        found.append(Demand(said, coming))
    return found


def _records(mark: Mark) -> tuple[bytes, ...]:
    records = mark.content["records"]
    assert isinstance(records, list)
    return tuple(unpack(record) for record in records)


def _joined(said: tuple[bytes, ...], more: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Records that were read at an opening are all there are; those of an append follow what was there."""
    is_all = more[:1] == said[:1] or not said
    assert not is_all or more[: len(said)] == said, "what was acknowledged was gone without any power cut"
    return more if is_all else said + more


def judge(directory: Path, demand: Demand, *, reader_first: bool) -> Verdict | None:
    """Open, verify and extend the ledger in ``directory``; what is wrong with it, or None."""
    try:
        if not demand.acknowledged:
            return _judge_creation(directory, reader_first)
        if reader_first and (verdict := _read(directory, demand)):
            return verdict
        with LedgerWriter.open(directory, ORIGIN, FakeClock()) as writer:
            found = stored(directory)
            if verdict := demand.compare(found):
                return verdict
            if verdict := _extend(writer):
                return verdict
        return _verify(directory, found)
    except LedgerDamaged as error:
        return Verdict(Fault.BROKEN, str(error))
    except LedgerMissing as error:
        return Verdict(Fault.LOST, str(error))
    except (LedgerError, sqlite3.Error) as error:
        return Verdict(Fault.UNREADABLE, str(error))
    except Exception as error:
        return Verdict(Fault.UNEXPECTED, repr(error))


def stored(directory: Path) -> list[bytes]:
    """The bytes of all records, as anybody reads them."""
    with closing(sqlite3.connect(directory / schema.LEDGER_FILE)) as connection:
        return [record for (record,) in connection.execute("SELECT record FROM events ORDER BY seq")]


def _judge_creation(directory: Path, reader_first: bool) -> Verdict | None:
    """Nothing was acknowledged: there is a whole ledger or none, and creating it again gives a whole one."""
    if reader_first:
        with suppress(LedgerMissing), LedgerReader.open(directory) as reader:
            reader.verify()
    with LedgerWriter.create(directory, ORIGIN, FakeClock()) as writer:
        found = stored(directory)
        if len(found) != 1:
            return Verdict(Fault.HALF, f"{len(found)} records in a new ledger")
        if verdict := _extend(writer):
            return verdict
    return _verify(directory, found)


def _read(directory: Path, demand: Demand) -> Verdict | None:
    """What an auditor finds who comes before any engine."""
    with LedgerReader.open(directory) as reader:
        reader.verify()
    return demand.compare(stored(directory))


def _extend(writer: LedgerWriter) -> Verdict | None:
    try:
        writer.append(AFTERWARDS, begun("jail:afterwards"), started(1))
    except LedgerError as error:
        return Verdict(Fault.UNWRITABLE, str(error))
    return None


def _verify(directory: Path, found: list[bytes]) -> Verdict | None:
    with LedgerReader.open(directory) as reader:
        records = reader.verify().records
    after = stored(directory)
    if after[: len(found)] != found or len(after) != records or records != len(found) + 2:
        return Verdict(Fault.LOST, "appending has changed what was there")
    return None
