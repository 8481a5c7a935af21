"""What the writer accepts, refuses and remembers."""

import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from ledger.authority import Approval
from ledger.codec import GENESIS, LEDGER_STREAM, decode
from ledger.errors import (
    AppendFailed,
    IllegalEvent,
    LedgerDamaged,
    LedgerNewer,
    LedgerUnusable,
    TargetBusy,
    UnknownTransaction,
)
from ledger.events import (
    LedgerCreated,
    OperatorDecided,
    RecoveryDecided,
    RecoveryStarted,
    StepStarted,
    TransactionRejected,
    TransactionStuck,
)
from ledger.lifecycle import State
from ledger.reader import LedgerReader
from ledger.rows import Row
from ledger.writer import LedgerWriter
from tests.ledger.attacks import forge, tamper
from tests.ledger.fakes import (
    ORIGIN,
    START,
    TX,
    CountedIds,
    FakeClock,
    begun,
    committed,
    create,
    reopen,
    started,
    succeeded,
    whole_unwinding,
    whole_upgrade,
)


def rows(directory: Path) -> list[tuple[int, str, int, bytes, bytes]]:
    connection = sqlite3.connect(directory / "ledger.db")
    found = connection.execute("SELECT seq, stream, version, hash, record FROM events ORDER BY seq").fetchall()
    connection.close()
    return found


def test_records_are_gapless_and_chained(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.append(TX, begun(), started(1))
        writer.note(RecoveryStarted(boot_id="boot-1", open=(TX,)))
        writer.append(TX, succeeded(1), started(2))
        writer.append("aaaa0002", begun("jail:db"))
    previous = GENESIS
    for seq, (stored, _, _, hashed, data) in enumerate(rows(tmp_path), 1):
        record = decode(data)
        assert (stored, record.seq, record.previous) == (seq, seq, previous)
        previous = hashed.hex()
    streams = [(stream, version) for _, stream, version, _, _ in rows(tmp_path)]
    assert streams == [
        (LEDGER_STREAM, 1), (TX, 1), (TX, 2), (LEDGER_STREAM, 2), (TX, 3), (TX, 4), ("aaaa0002", 1),
    ]  # fmt: skip


def test_the_chain_goes_on_after_reopening(tmp_path: Path) -> None:
    for number in range(3):
        with create(tmp_path) as writer:
            writer.append(f"aaaa000{number}", *whole_upgrade())
            writer.note(RecoveryStarted(boot_id="boot-1", open=()))
    with LedgerReader.open(tmp_path) as reader:
        assert reader.verify().records == 1 + 3 * 7


def test_the_envelope_says_who_when_where_and_why(tmp_path: Path) -> None:
    approval = Approval(by="eva", at="2026-03-13T12:00:00Z", meaning="approved in the change board")
    with LedgerWriter.create(tmp_path, ORIGIN, FakeClock(), new_id=CountedIds()) as writer:
        order = begun().model_copy(update={"approval": approval})
        for record in writer.append(TX, order, started(1)):
            assert (record.transaction, record.target) == (TX, "jail:web")
            assert (record.reason, record.ticket, record.approval) == ("CVE-2026-1", "OPS-7", approval)
            assert (record.host_id, record.boot_id, record.engine_version) == ("host-1", "boot-1", "0.1.0")
            assert record.actor == ORIGIN.actor
        assert writer.append(TX, succeeded(1))[0].approval == approval
    with LedgerWriter.open(tmp_path, ORIGIN, FakeClock()) as writer:
        record = writer.append(TX, started(2))[0]
        assert (record.approval, record.ticket) == (approval, "OPS-7"), "also after a crash"
    ids = [decode(data).event_id for *_, data in rows(tmp_path)][:4]
    assert ids == [f"{number:032x}" for number in (1, 2, 3, 4)]


def test_a_clock_that_is_set_back_changes_nothing_but_the_time_shown(tmp_path: Path) -> None:
    clock = FakeClock()
    with LedgerWriter.create(tmp_path, ORIGIN, clock) as writer:
        writer.append(TX, begun())
        clock.moment = START - timedelta(days=400)
        record = writer.append(TX, started(1))[0]
        assert record.at.startswith("2025-02-07T")
        writer.append(TX, succeeded(1))
    with LedgerReader.open(tmp_path) as reader:
        found = list(reader.records())
        assert [record.seq for record in found] == [1, 2, 3, 4]
        assert [record.monotonic_ns for record in found] == sorted(record.monotonic_ns for record in found)
        reader.verify()


def test_an_illegal_event_is_refused_and_nothing_of_the_append_is_written(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.append(TX, begun())
        before = rows(tmp_path)
        for events in ((started(2),), (started(1), started(2)), (begun(),), (committed(),)):
            with pytest.raises(IllegalEvent):
                writer.append(TX, *events)
        with pytest.raises(IllegalEvent, match="has not begun"):
            writer.append("bbbb0001", started(1))
        with pytest.raises(IllegalEvent, match="not an identifier"):
            writer.append("../etc", begun("jail:db"))
        assert rows(tmp_path) == before
        assert writer.append(TX, started(1))[0].seq == 3


def test_an_append_of_nothing_writes_nothing(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        assert writer.append(TX) == ()
        assert writer.note() == ()
        assert len(rows(tmp_path)) == 1


def test_the_creation_is_noted_once(tmp_path: Path) -> None:
    with create(tmp_path) as writer, pytest.raises(IllegalEvent, match="first record of every ledger"):
        writer.note(LedgerCreated())


def test_a_target_has_one_open_transaction(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.append(TX, begun())
        with pytest.raises(TargetBusy, match=f"cannot begin transaction aaaa0002: {TX} on jail:web is forward"):
            writer.append("aaaa0002", begun())
        writer.append("aaaa0003", begun("jail:db"))
        writer.append(TX, TransactionStuck(cause="foreign root"))
        with pytest.raises(TargetBusy, match="is stuck"):
            writer.append("aaaa0002", *whole_upgrade())
        assert list(writer.open_transactions()) == [TX, "aaaa0003"]


def test_a_refusal_may_be_recorded_beside_an_open_transaction(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.append(TX, begun())
        writer.append("aaaa0002", begun(), TransactionRejected(cause="busy"))
        assert writer.status("aaaa0002").state is State.REJECTED
        assert list(writer.open_transactions()) == [TX]
        assert writer.settled_targets() == {}


def test_a_target_is_free_again_once_its_transaction_has_ended(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        for number, events in enumerate((whole_upgrade(), whole_unwinding(), whole_upgrade())):
            writer.append(f"aaaa000{number}", *events)
        assert writer.open_transactions() == {}
        with pytest.raises(IllegalEvent, match="the transaction is committed"):
            writer.append("aaaa0000", started(1))


def test_the_settled_state_is_that_of_the_last_end(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        assert writer.settled("jail:web") is None
        writer.append("aaaa0001", *whole_upgrade())
        assert writer.settled("jail:web") == {"release": "base@aaaa0001"}
        writer.append("aaaa0002", *whole_unwinding())
        assert writer.settled("jail:web") == {"release": "base@aaaa0000"}
        writer.append("aaaa0003", begun(), TransactionRejected(cause="no space"))
        writer.append("aaaa0004", begun())
        assert writer.settled("jail:web") == {"release": "base@aaaa0000"}
        writer.append("aaaa0005", *whole_upgrade("jail:db"))
        expected = {"jail:db": {"release": "base@aaaa0001"}, "jail:web": {"release": "base@aaaa0000"}}
        assert writer.settled_targets() == expected
    with LedgerReader.open(tmp_path) as reader:
        assert reader.settled_targets() == expected


def test_nothing_is_settled_where_nothing_is_left(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.append("aaaa0001", *whole_upgrade())
        removal = begun().model_copy(update={"after": None})
        writer.append("aaaa0002", removal, *whole_upgrade()[1:])
        assert writer.settled("jail:web") is None
        assert writer.settled_targets() == {}
    with LedgerReader.open(tmp_path) as reader:
        reader.verify()


def test_a_person_leads_a_stuck_transaction_out(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.append(TX, begun(), started(1), TransactionStuck(cause="foreign"))
        with pytest.raises(IllegalEvent, match="stuck until an operator decides"):
            writer.append(TX, succeeded(1))
        writer.append(TX, RecoveryDecided(step=1, presence="foreign", action="stick", reason="not ours"))
        writer.append(TX, OperatorDecided(choice="accept-planned", by="eva", why="looked at it"), committed())
        assert writer.settled("jail:web") == {"release": "base@aaaa0001"}


def test_statuses_are_the_same_after_reopening(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.append("aaaa0001", *whole_upgrade())
        writer.append("aaaa0002", *whole_unwinding()[:-2])
        before = {tx: writer.status(tx) for tx in ("aaaa0001", "aaaa0002")}
        records = writer.records("aaaa0002")
    with reopen(tmp_path) as writer:
        assert {tx: writer.status(tx) for tx in before} == before
        assert writer.open_transactions() == {"aaaa0002": before["aaaa0002"]}
        assert writer.records("aaaa0002") == records


def test_an_unknown_transaction_is_said_to_be_unknown(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        for look in (writer.status, writer.records):
            with pytest.raises(UnknownTransaction, match="cannot look up transaction zzzz0001: there is none"):
                look("zzzz0001")


def test_several_threads_append_to_one_chain(tmp_path: Path) -> None:
    failures: list[Exception] = []

    def upgrade(writer: LedgerWriter, number: int) -> None:
        try:
            for event in whole_upgrade(f"jail:web{number}"):
                writer.append(f"aaaa000{number}", event)
        except Exception as error:
            failures.append(error)

    with create(tmp_path) as writer:
        threads = [threading.Thread(target=upgrade, args=(writer, number)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(writer.settled_targets()) == 8
    with LedgerReader.open(tmp_path) as reader:
        assert reader.verify().records == 1 + 8 * 6


NEWER: list[dict[str, object]] = [
    {"type": "step.imagined", "event": {"type": "step.imagined"}},
    {"schema_version": 2},
]


@pytest.mark.parametrize("change", NEWER)
def test_the_writer_refuses_an_open_transaction_of_a_newer_version(tmp_path: Path, change: dict[str, object]) -> None:
    with create(tmp_path) as writer:
        writer.append(TX, begun(), started(1))
    forge(tmp_path, change)
    with pytest.raises(LedgerNewer, match=f"cannot act on open transaction {TX}") as caught:
        reopen(tmp_path)
    assert caught.value.remedy == "use rootswap 9.0 or newer"


def test_the_writer_goes_on_after_an_ended_transaction_of_a_newer_version(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.append(TX, begun(), started(1))
    forge(tmp_path, NEWER[0])
    connection = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    connection.execute("UPDATE transactions SET state = 'committed'")
    connection.close()
    with reopen(tmp_path) as writer:
        writer.append("aaaa0002", *whole_upgrade())
        with pytest.raises(LedgerNewer):
            writer.status(TX)
    with LedgerReader.open(tmp_path) as reader:
        assert reader.verify().unknown == 1


TAMPERED = {
    "the last record's bytes": (
        "UPDATE events SET record = CAST(replace(CAST(record AS TEXT), 'web', 'db1') AS BLOB) WHERE seq = 4",
        "record 4",
    ),
    "the last record's target": ("UPDATE events SET target = 'jail:db' WHERE seq = 4", "record 4: column target"),
    "the last record's hash": ("UPDATE events SET hash = zeroblob(32) WHERE seq = 4", "record 4: its bytes"),
    "the end": ("DELETE FROM events WHERE seq = 4", "record 4: it is missing"),
    "the hash before the last": ("UPDATE events SET hash = zeroblob(32) WHERE seq = 3", "record 4: it does not name"),
    "a hole before the last": ("DELETE FROM events WHERE seq = 3", "record 3: it is missing"),
    "the index": ("UPDATE transactions SET state = 'unwinding'", f"the index of transactions is wrong about {TX}"),
    "the index's word": ("UPDATE transactions SET kind = 'x'", f"the index of transactions is wrong about {TX}"),
}


@pytest.mark.parametrize(("statement", "message"), TAMPERED.values(), ids=TAMPERED.keys())
def test_the_writer_refuses_what_does_not_add_up(tmp_path: Path, statement: str, message: str) -> None:
    with create(tmp_path) as writer:
        writer.append(TX, begun(), started(1), succeeded(1))
    tamper(tmp_path, statement)
    with pytest.raises(LedgerDamaged, match=message):
        reopen(tmp_path)


def test_a_second_hand_on_the_file_is_noticed(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.append(TX, begun())
        record = writer.records(TX)[0]
        stray = record.model_copy(update={"seq": 3, "event_id": "f" * 32, "stream": LEDGER_STREAM, "version": 2})
        connection = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        row = Row.of(stray)
        values = [getattr(row, name) for name in Row.__slots__]
        connection.execute("INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", values)
        connection.close()
        with pytest.raises(AppendFailed, match="append-only"):
            writer.append(TX, started(1))
        with pytest.raises(LedgerDamaged):
            writer.append(TX, started(1))


def test_a_closed_writer_says_so(tmp_path: Path) -> None:
    writer = create(tmp_path)
    writer.close()
    writer.close()
    with pytest.raises(LedgerUnusable, match="closed"):
        writer.append(TX, begun())


def test_space_is_asked_for_before_the_first_step(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.require_space(1 << 16)
        with pytest.raises(AppendFailed, match="bytes free of") as caught:
            writer.require_space(1 << 60)
        assert "make room" in caught.value.remedy


def test_an_event_that_was_built_past_its_checks_is_refused(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        writer.append(TX, begun())
        with pytest.raises(IllegalEvent):
            writer.append(TX, StepStarted.model_construct(step=1, kind="StopJail", attempt=99))


def test_the_index_has_what_changed_and_each_page_of_it_that_did_not_is_left_alone(tmp_path: Path) -> None:
    """Between the begin and the end of a transaction only its place moves on."""
    with create(tmp_path) as writer:
        first, *steps, last = whole_upgrade()
        seen: list[str] = []
        writer._store.connection.set_trace_callback(seen.append)
        for event in (first, *steps, last):
            writer.append(TX, event)
    changes = [one.partition(" WHERE")[0] for one in seen if "transactions" in one and not one.startswith("SELECT")]
    assert [one.partition(" = ")[0] for one in changes[1:-1]] == ["UPDATE transactions SET last_seq"] * len(steps)
    assert changes[0].startswith("INSERT INTO transactions")
    assert changes[-1].startswith("UPDATE transactions SET state = 'committed', last_seq = ")
    with LedgerReader.open(tmp_path) as reader:
        reader.verify()


def test_events_of_one_engine_lie_side_by_side_and_no_two_share_an_identifier(tmp_path: Path) -> None:
    with create(tmp_path) as writer:
        first = writer.append(TX, *whole_upgrade())
    with reopen(tmp_path) as writer:
        second = writer.append("aaaa0002", *whole_upgrade("jail:db"))
    for records in (first, second):
        assert [record.event_id for record in records] == sorted(record.event_id for record in records)
        assert len({record.event_id[:24] for record in records}) == len(records)
    assert len({record.event_id[:16] for record in (*first, *second)}) == 2
