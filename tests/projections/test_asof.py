"""What was so at a moment agrees with a naive replay of the raw log, whatever the clock did, whoever wrote it."""

import random
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import rows, schema
from ledger.codec import Record, decode
from ledger.events import TransactionCommitted, TransactionEvent, TransactionRolledBack
from ledger.lifecycle import TransactionStatus, apply
from ledger.reader import LedgerReader
from projections.asof import Standing, place_of, standings_at
from projections.current_state import Settled, settled_of
from projections.projector import Projector
from tests.projections.histories import write

SHM = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
GOLDEN = Path(__file__).parent.parent / "golden"


def naive_place(log: Sequence[Record], at: str) -> int:
    """The last record, by its number, that was not written later."""
    return max((record.seq for record in log if record.at <= at), default=0)


def naive_standings(log: Sequence[Record], seq: int) -> dict[str, tuple[Settled | None, int | None, str | None]]:
    """Every target: its settled state, the record that settled it, what is under way. Folds all from 1 on."""
    statuses: dict[str, TransactionStatus] = {}
    settled: dict[str, tuple[Settled | None, int]] = {}
    for record in log[:seq]:
        if record.transaction is None or not isinstance(record.event, TransactionEvent):
            continue
        status = statuses[record.transaction] = apply(statuses.get(record.transaction), record.event)
        if isinstance(record.event, TransactionCommitted | TransactionRolledBack):
            settled[status.target] = (settled_of(status.settled), record.seq)
    under_way = {status.target: name for name, status in statuses.items() if status.is_open}
    found = {}
    for target in {*settled, *under_way}:
        state, at = settled.get(target, (None, None))
        if state is not None or target in under_way:
            found[target] = (state, at, under_way.get(target))
    return found


def answered(standings: Sequence[Standing]) -> dict[str, tuple[Settled | None, int | None, str | None]]:
    return {one.target: (one.settled, one.seq, one.open) for one in standings}


def read_log(directory: Path) -> list[Record]:
    with LedgerReader.open(directory) as reader:
        return [record for record in reader.records() if isinstance(record, Record)]


def tables_of(directory: Path) -> Projector:
    projector = Projector(sqlite3.connect(":memory:", isolation_level=None))
    with LedgerReader.open(directory) as reader:
        projector.catch_up(reader)
    return projector


def compare_everywhere(directory: Path) -> None:
    log = read_log(directory)
    with LedgerReader.open(directory) as reader, closing(tables_of(directory)) as projector:
        tables = projector.database.conn
        moments = {record.at for record in log}
        moments |= {"2000-01-01T00:00:00.000000Z", "2100-01-01T00:00:00.000000Z"}
        for at in moments:
            seq = place_of(reader, tables, at)
            assert seq == naive_place(log, at)
            assert answered(standings_at(tables, seq)) == naive_standings(log, seq)


@given(chance=st.randoms(use_true_random=False), count=st.integers(0, 60))
@settings(max_examples=30, deadline=None)
def test_every_moment_of_a_random_history_is_as_a_naive_replay_says(chance: random.Random, count: int) -> None:
    with tempfile.TemporaryDirectory(dir=SHM) as name:
        write(Path(name), chance, count)
        compare_everywhere(Path(name))


@pytest.mark.parametrize("version", sorted(path.name for path in GOLDEN.glob("v*")))
def test_every_moment_of_a_golden_ledger_is_as_a_naive_replay_says(version: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / schema.LEDGER_FILE, isolation_level=None)) as connection:
        schema.lay_out(connection)
        for line in (GOLDEN / version / "ledger.jsonl").read_bytes().splitlines():
            rows.insert(connection, rows.Row.of(decode(line)))
    compare_everywhere(tmp_path)


def test_a_standing_tells_since_when_and_by_which_transaction(tmp_path: Path) -> None:
    write(tmp_path, random.Random(5), 300)
    with LedgerReader.open(tmp_path) as reader, closing(tables_of(tmp_path)) as projector:
        from projections.queries import all_targets

        now = {one.target: one for one in standings_at(projector.database.conn, reader.last_seq()) if one.settled}
        lines = [line for kind in ("jail", "template") for line in all_targets(projector, kind).values()]
        assert lines
        for line in lines:
            one = now[line.target]
            assert (one.settled, one.since, one.brought_by) == (line.settled, line.since, line.by)
            assert (one.settled_at, one.by) == (line.settled_at, line.settled_by)
