"""The ledgers of released versions: still written to the byte, still read to the same end."""

import json
from pathlib import Path

import pytest

from ledger import index
from ledger.codec import GENESIS, Record, decode, encode, record_hash
from tests.golden.generate import HERE, stored_bytes
from tests.golden.scenarios import STUCK, UNHEALTHY, UPGRADE, as_json, write

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


def test_the_newest_golden_records_encode_to_their_own_bytes() -> None:
    for line in golden(NEWEST):
        assert encode(decode(line)) == line


def test_the_golden_ledger_tells_of_every_end_that_matters() -> None:
    statuses = json.loads((HERE / NEWEST / "statuses.json").read_text())
    assert {tx: status["state"] for tx, status in statuses.items()} == {
        UPGRADE: "committed",
        UNHEALTHY: "rolled-back",
        STUCK: "rolled-back",
    }
    types = {json.loads(line)["type"] for line in golden(NEWEST)}
    assert {"transaction.stuck", "operator.decided", "recovery.started", "recovery.decided", "unwind.started"} <= types
