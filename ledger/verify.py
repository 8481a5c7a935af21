"""The whole ledger, recomputed.

Nothing that is stored is believed: every record is hashed again, every link, column and place in its stream looked at,
every transaction folded, and the ledger's own index compared with what the records add up to.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from ledger import index, pages, ranges, seals
from ledger.errors import LedgerDamaged
from ledger.events import TransactionBegun
from ledger.index import IndexLine, TargetRow
from ledger.rows import Tail, damaged, read_tail, select
from ledger.schema import check_objects
from ledger.sums import Sums
from ledger.vouch import Evidence, Vouched, newest_of_each_key, require_sound, require_vouched


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was found sound. ``head`` is the hash of the last record: whoever kept an older one can compare.

    ``unknown`` counts the records of a newer version: their place in the chain was verified, their meaning was not.
    ``vouched`` is what signatures say of it; None if nobody asked.
    """

    records: int
    transactions: int
    open_transactions: int
    unknown: int
    head: str
    vouched: Vouched | None = None


@dataclass(frozen=True, slots=True)
class _Stored:
    """What is held against the records: the end, the index and the sizes of the seals, all at one moment."""

    end: Tail
    transactions: dict[str, IndexLine]
    targets: dict[str, TargetRow]
    seals: list[int]


def verify(
    connection: sqlite3.Connection, evidence: Evidence | None = None, path: Path | None = None, processes: int = 1
) -> VerifyReport:
    """Recompute everything, and hold it against the signatures if ``evidence`` says how.

    Raises LedgerDamaged that names the first record which does not add up. The writer may go on meanwhile: what is
    verified is the ledger at the moment of the call. A large ledger is shared among as many ``processes``, which open
    ``path``.
    """
    check_objects(connection)
    stored = _read_stored(connection)
    kept = frozenset(() if evidence is None else evidence.sizes)
    parts = ranges.cut(stored.end.seq, 1 if path is None else processes)
    if path is None or len(parts) == 1:
        _require_sound_pages(pages.check(connection))
        all_sums = [ranges.recount(connection, part, kept) for part in parts]
    else:
        found, all_sums = ranges.share(connection, path, parts, kept)
        _require_sound_pages(found)
    sums = _added(all_sums)
    if sums.tail != stored.end:
        raise damaged(sums.tail.seq + 1, "it is missing")
    vouched = _require_vouched(connection, stored, sums, evidence)
    _compare_transactions(stored.transactions, sums)
    _compare_targets(stored.targets, _settled(connection, sums), sums)
    return VerifyReport(
        records=stored.end.seq,
        transactions=len(stored.transactions),
        open_transactions=sum(opened.place.status.is_open for opened in sums.open.values()),
        unknown=sums.unknown,
        head=stored.end.hash,
        vouched=vouched,
    )


def _read_stored(connection: sqlite3.Connection) -> _Stored:
    # One short snapshot of the index and its end; the records before that end cannot change under us.
    connection.execute("BEGIN")
    try:
        return _Stored(
            end=read_tail(connection),
            transactions=index.lines(connection),
            targets={row.target: row for row in index.target_rows(connection)},
            seals=seals.sizes(connection),
        )
    finally:
        connection.execute("ROLLBACK")


def _added(all_sums: list[Sums]) -> Sums:
    first, *others = all_sums
    if first.error is not None:
        raise first.error
    for later in others:
        first.join(later)
    return first


def _require_vouched(
    connection: sqlite3.Connection, stored: _Stored, sums: Sums, evidence: Evidence | None
) -> Vouched | None:
    found, end = sums.found, stored.end.seq
    doubtful = [size for size in stored.seals if size not in found.sound]
    require_sound(end, seals.find_seals(connection, doubtful), found)
    every = evidence is not None and evidence.every_signature
    wanted = stored.seals if every else newest_of_each_key(stored.seals, found)
    return require_vouched(end, len(stored.seals), seals.find_seals(connection, wanted), found, evidence)


def _settled(connection: sqlite3.Connection, sums: Sums) -> dict[str, TargetRow]:
    """What each target was left as: read once more from the record that began its last transaction."""
    settled = {}
    for target, settling in sums.targets.items():
        (row,) = select(connection, "WHERE seq = ?", (settling.begun_seq,))
        event = row.decode().event
        if not isinstance(event, TransactionBegun):
            raise damaged(row.seq, "it has changed while it was verified")
        state = event.after if settling.is_after else event.before
        settled[target] = TargetRow(target, state, settling.transaction, settling.last_seq)
    return settled


def _require_sound_pages(found: str) -> None:
    if found != "ok":
        raise LedgerDamaged(
            f"cannot trust the ledger: SQLite finds {found}",
            remedy="restore the ledger from its last copy; keep the damaged file as evidence",
        )


def _compare_transactions(stored: dict[str, IndexLine], sums: Sums) -> None:
    recounted = sums.index()
    if stored == recounted:
        return
    for transaction in sorted(stored.keys() | recounted.keys()):
        if transaction in sums.unknown_transactions:
            continue
        found, expected = stored.get(transaction), recounted.get(transaction)
        if found != expected:
            seq = expected[5] if expected is not None else found[5] if found is not None else 0
            raise damaged(seq, f"the index of transactions is wrong about {transaction}")


def _compare_targets(stored: dict[str, TargetRow], recounted: dict[str, TargetRow], sums: Sums) -> None:
    for target in sorted(stored.keys() | recounted.keys()):
        if target in sums.unknown_targets:
            continue
        found, expected = stored.get(target), recounted.get(target)
        if found != expected:
            seq = expected.seq if expected is not None else found.seq if found is not None else 0
            raise damaged(seq, f"the index of targets is wrong about {target}")
