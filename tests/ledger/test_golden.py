"""The ledgers of released versions: still written to the byte, still read to the same end."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ledger import index, rows, schema
from ledger.codec import GENESIS, Record, decode, encode, record_hash
from ledger.events import LedgerCreated, TransactionBegun
from ledger.merkle import Frontier, leaf_hash
from ledger.reader import LedgerReader
from ledger.rows import Row
from tests.golden.generate import HERE, stored_bytes
from tests.golden.scenarios import (
    APPROVED,
    EMERGENCY,
    KEY,
    REFUSED,
    STUCK,
    UNHEALTHY,
    UPGRADE,
    WAITING,
    as_json,
    write,
)
from tests.ledger.fakes import TX, reopen, whole_upgrade

VERSIONS = sorted(path.name for path in HERE.glob("v*"))
NEWEST = VERSIONS[-1]


def golden(version: str) -> list[bytes]:
    return (HERE / version / "ledger.jsonl").read_bytes().splitlines()


def test_todays_writer_gives_the_newest_golden_ledger_to_the_byte(tmp_path: Path) -> None:
    statuses = write(tmp_path)
    assert stored_bytes(tmp_path) == golden(NEWEST)
    assert json.loads(json.dumps(as_json(statuses))) == json.loads((HERE / NEWEST / "statuses.json").read_text())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_golden_ledger_is_read_to_the_same_statuses(version: str) -> None:
    streams: dict[str, list[Record]] = {}
    for line in golden(version):
        record = decode(line)
        if record.transaction is not None:
            streams.setdefault(record.transaction, []).append(record)
    found = {}
    for transaction, records in streams.items():
        stream = index.fold(records)
        assert stream is not None
        found[transaction] = stream.status
    assert json.loads(json.dumps(as_json(found))) == json.loads((HERE / version / "statuses.json").read_text())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_golden_ledger_is_a_chain(version: str) -> None:
    previous = GENESIS
    for seq, line in enumerate(golden(version), 1):
        record = decode(line)
        assert (record.seq, record.previous) == (seq, previous)
        previous = record_hash(line).hex()


def test_the_first_record_of_version_1_is_lifted_to_todays_shape() -> None:
    first, newest = (decode(golden(version)[0]) for version in ("v1", NEWEST))
    assert (first.schema_version, first.event) == (1, LedgerCreated(key=None))
    assert (newest.schema_version, newest.event) == (2, LedgerCreated(key=KEY))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_transaction_of_version_1_began_on_nobodys_word(version: str) -> None:
    records = [decode(line) for line in golden(version)]
    found = [(one.schema_version, one.event) for one in records if isinstance(one.event, TransactionBegun)]
    assert [(written, begun.authority) for written, begun in found] == [(1, None)] * 3


def test_the_writer_goes_on_in_a_ledger_of_version_1(tmp_path: Path) -> None:
    """Old records stay as they are; the chain and the tree go over the change of version."""
    with closing(sqlite3.connect(tmp_path / schema.LEDGER_FILE, isolation_level=None)) as connection:
        schema.prepare_writer(connection)
        schema.lay_out(connection)
        frontier = Frontier()
        for line in golden("v1"):
            raw = decode(line)
            row = replace(
                Row.of(raw), record=line, hash=record_hash(line), subtrees=b"".join(frontier.add(leaf_hash(line)))
            )
            rows.insert(connection, row)
        for name in (UPGRADE, UNHEALTHY, STUCK):
            stream = index.fold(row.decode() for row in rows.select_stream(connection, name))
            assert stream is not None
            index.put(connection, stream)
    with reopen(tmp_path) as writer:
        writer.append(TX, *whole_upgrade())
        assert writer.seals.key() is None
    assert stored_bytes(tmp_path)[: len(golden("v1"))] == golden("v1")
    with LedgerReader.open(tmp_path) as reader:
        assert reader.verify().records == len(golden("v1")) + len(whole_upgrade())


def test_the_newest_golden_records_encode_to_their_own_bytes() -> None:
    for line in golden(NEWEST):
        assert encode(decode(line)) == line


def test_the_golden_ledger_tells_of_every_end_that_matters() -> None:
    statuses = json.loads((HERE / NEWEST / "statuses.json").read_text())
    assert {tx: status["state"] for tx, status in statuses.items()} == {
        UPGRADE: "committed",
        UNHEALTHY: "rolled-back",
        STUCK: "rolled-back",
        APPROVED: "committed",
        REFUSED: "rejected",
        EMERGENCY: "committed",
        WAITING: "planned",
    }
    types = {json.loads(line)["type"] for line in golden(NEWEST)}
    assert {"transaction.planned", "approval.given", "approval.refused"} <= types
    assert {"transaction.stuck", "operator.decided", "recovery.started", "recovery.decided", "unwind.started"} <= types
