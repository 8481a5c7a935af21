"""Every way to falsify a ledger with SQL, and the record that verify then names."""

import random
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from ledger import ranges
from ledger.codec import GENESIS
from ledger.errors import LedgerDamaged
from ledger.reader import LedgerReader
from tests.ledger.attacks import forge, tamper
from tests.ledger.bulk import grow
from tests.ledger.fakes import TX, begun, create, started, whole_unwinding, whole_upgrade
from tests.projections.histories import write

OPEN = "aaaa0003"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """1 creation, 2-7 an upgrade, 8-14 an unwinding, 15-16 an open transaction."""
    with create(tmp_path) as writer:
        writer.append(TX, *whole_upgrade())
        writer.append("aaaa0002", *whole_unwinding("jail:db"))
        writer.append(OPEN, begun(), started(1))
    return tmp_path


def verify(directory: Path) -> None:
    with LedgerReader.open(directory) as reader:
        reader.verify()


def test_a_sound_ledger_is_reported(ledger: Path) -> None:
    with LedgerReader.open(ledger) as reader:
        report = reader.verify()
        assert (report.records, report.transactions, report.open_transactions, report.unknown) == (16, 3, 1, 0)
        assert len(report.head) == len(GENESIS) and report.head != GENESIS


@pytest.mark.usefixtures("small_ranges")
def test_verifying_does_not_depend_on_where_the_ledger_is_cut(ledger: Path) -> None:
    verify(ledger)


ATTACKS = {
    "edit a record": (
        "UPDATE events SET record = CAST(replace(CAST(record AS TEXT), 'paul', 'eva') AS BLOB) WHERE seq = 3",
        "record 3: its bytes are not those that were hashed",
    ),
    "edit a hash": ("UPDATE events SET hash = zeroblob(32) WHERE seq = 5", "record 5: its bytes"),
    "remove a record": ("DELETE FROM events WHERE seq = 4", "record 4: it is missing"),
    "remove the first": ("DELETE FROM events WHERE seq = 1", "record 1: it is missing"),
    "remove the end": ("DELETE FROM events WHERE seq > 14", "record 16: the index of transactions is wrong"),
    "move a record": ("UPDATE events SET seq = 17 WHERE seq = 16", "record 17: column seq says 17, the record 16"),
    "change the event id": ("UPDATE events SET event_id = 'x' WHERE seq = 5", "record 5: column event_id"),
    "change the stream": ("UPDATE events SET stream = 'x' WHERE seq = 5", "record 5: column stream"),
    "change the version": ("UPDATE events SET version = 9 WHERE seq = 5", "record 5: column version says 9"),
    "change the transaction": ("UPDATE events SET transaction_id = 'x' WHERE seq = 5", "record 5: column trans"),
    "hide the target": ("UPDATE events SET target = NULL WHERE seq = 5", "record 5: column target says None"),
    "change the type": ("UPDATE events SET type = 'x' WHERE seq = 5", "record 5: column type says 'x'"),
    "change the schema version": ("UPDATE events SET schema_version = 0 WHERE seq = 5", "record 5: column schema"),
    "change the time": ("UPDATE events SET at = 'x' WHERE seq = 5", "record 5: column at says 'x'"),
    "close a transaction in the index": (
        "UPDATE transactions SET state = 'rejected' WHERE transaction_id = 'aaaa0003'",
        "record 16: the index of transactions is wrong about aaaa0003",
    ),
    "say nonsense in the index": ("UPDATE transactions SET state = 'fine'", "record 7: the index of trans"),
    "approve afterwards": (
        """UPDATE transactions SET approval = '{"by":"eva","at":"","meaning":""}' WHERE transaction_id = 'aaaa0001'""",
        "record 7: the index of transactions is wrong about aaaa0001",
    ),
    "forget a transaction": (
        "DELETE FROM transactions WHERE transaction_id = 'aaaa0001'",
        "record 7: the index of transactions is wrong about aaaa0001",
    ),
    "invent a transaction": (
        "INSERT INTO transactions VALUES ('zzzz0001', 'k', 'jail:x', 'committed', 50, 51, NULL, NULL, NULL)",
        "record 51: the index of transactions is wrong about zzzz0001",
    ),
    "settle otherwise": (
        """UPDATE targets SET state = '{"release":"base@zzzz0000"}' WHERE target = 'jail:web'""",
        "record 7: the index of targets is wrong about jail:web",
    ),
    "forget a target": ("DELETE FROM targets WHERE target = 'jail:db'", "record 14: the index of targets"),
    "settle with nonsense": ("UPDATE targets SET state = '{'", "its index of targets"),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "message"), ATTACKS.values(), ids=ATTACKS.keys())
def test_what_was_falsified_is_named(ledger: Path, statement: str, message: str) -> None:
    tamper(ledger, statement)
    with pytest.raises(LedgerDamaged, match="cannot trust the ledger") as caught:
        verify(ledger)
    assert message in caught.value.message
    assert caught.value.exit_code == 4
    assert caught.value.remedy


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize(("statement", "message"), ATTACKS.values(), ids=ATTACKS.keys())
def test_what_was_falsified_is_named_wherever_the_ledger_is_cut(ledger: Path, statement: str, message: str) -> None:
    tamper(ledger, statement)
    with pytest.raises(LedgerDamaged, match="cannot trust the ledger") as caught:
        verify(ledger)
    assert message in caught.value.message


def test_a_record_with_a_sound_hash_but_a_false_link_is_named(ledger: Path) -> None:
    forge(ledger, {"previous": GENESIS}, transaction=OPEN)
    with pytest.raises(LedgerDamaged, match="record 17: it does not name the hash of the record before it"):
        verify(ledger)


def test_a_gap_in_a_stream_is_named(ledger: Path) -> None:
    forge(ledger, {"version": 7}, transaction=OPEN)
    with pytest.raises(LedgerDamaged, match="record 17: it is number 7 of aaaa0003, not 3"):
        verify(ledger)


def test_an_event_out_of_order_is_named(ledger: Path) -> None:
    forge(ledger, {}, transaction=OPEN)  # the step starts once more as attempt 1
    with pytest.raises(LedgerDamaged, match=r"record 17: cannot record step\.started: attempt 1 is out of turn"):
        verify(ledger)


def test_an_event_after_the_end_is_named(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.append(TX, *whole_upgrade())
    forge(tmp_path, {})
    with pytest.raises(LedgerDamaged, match=f"record 8: transaction {TX} had already ended"):
        verify(tmp_path)


def test_an_event_of_a_transaction_outside_of_any_is_named(ledger: Path) -> None:
    forge(ledger, {"transaction": None, "stream": "ledger", "version": 2}, transaction=OPEN)
    with pytest.raises(LedgerDamaged, match=r"record 17: step\.started stands outside of any transaction"):
        verify(ledger)


def test_an_event_of_the_ledger_within_a_transaction_is_named(ledger: Path) -> None:
    forge(ledger, {"type": "ledger.created", "event": {"type": "ledger.created"}}, transaction=OPEN)
    with pytest.raises(
        LedgerDamaged, match="record 17: the stream of transaction aaaa0003 holds an event of the ledger"
    ):
        verify(ledger)


def test_each_flipped_byte_of_the_file_is_noticed_or_harmless(ledger: Path) -> None:
    """A flip in free space changes nothing; every other one is found. None goes by with other records shown."""
    path = ledger / "ledger.db"
    whole = path.read_bytes()
    with LedgerReader.open(ledger) as reader:
        expected = list(reader.records())
    noticed = 0
    for place in range(100, len(whole), 211):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x20]) + whole[place + 1 :])
        try:
            with LedgerReader.open(ledger) as reader:
                reader.verify()
                assert list(reader.records()) == expected, f"byte {place}"
        except LedgerDamaged:
            noticed += 1
    assert noticed > 20


def test_random_histories_are_sound(fast_directory: Path) -> None:
    """The writer asks the life cycle about each event, verifying only about each way to go on."""
    for seed in range(12):
        directory = fast_directory / str(seed)
        write(directory, random.Random(seed), 250)
        verify(directory)


@pytest.mark.usefixtures("small_ranges")
def test_random_histories_are_sound_wherever_they_are_cut(fast_directory: Path) -> None:
    for seed in range(6):
        directory = fast_directory / str(seed)
        write(directory, random.Random(seed), 250)
        verify(directory)


def test_processes_share_a_large_ledger_and_find_what_is_wrong(
    fast_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.ranges.WORTHWHILE", 700)
    site = grow(fast_directory, 2000)
    monkeypatch.setattr("ledger.ranges.cores", lambda: 3)
    assert site.verify().records > 2000
    tamper(site.ledger, "UPDATE events SET target = 'jail:x' WHERE seq = 1900")
    tamper(site.ledger, "UPDATE events SET record = CAST(record || ' ' AS BLOB) WHERE seq = 1100")
    with pytest.raises(LedgerDamaged, match="record 1100: its bytes are not those that were hashed"):
        site.verify()


def test_a_process_that_was_killed_says_nothing_of_the_ledger() -> None:
    future: Future[str] = Future()
    future.set_exception(BrokenProcessPool("killed"))
    assert ranges._result(future, lambda: "found here") == "found here"
