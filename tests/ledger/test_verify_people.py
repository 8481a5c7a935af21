"""What persons have said, falsified: approvals, plans and emergencies, in the records and in the index."""

from pathlib import Path
from typing import Any

import pytest

from ledger.errors import LedgerDamaged
from ledger.events import TransactionEvent
from ledger.reader import LedgerReader
from tests.ledger.attacks import forge, tamper
from tests.ledger.fakes import TX, create
from tests.ledger.test_waiting import STEPS, answer, emergency, given, planned, runs

WAITS, RAN, SETTLED = "ffff0002", "ffff0003", "ffff0004"


@pytest.fixture(params=["in one go", "in small ranges"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """2-7 an emergency that owes, 8-9 an approved plan, 10-17 a plan that ran, 18-24 a settled emergency."""
    if request.param == "in small ranges":
        request.getfixturevalue("small_ranges")
    with create(tmp_path) as writer:
        writer.append(TX, emergency(), *STEPS)
        writer.append(WAITS, planned())
        writer.append(WAITS, given())
        writer.append(RAN, planned())
        writer.append(RAN, given())
        writer.append(RAN, runs(), *STEPS)
        writer.append(SETTLED, emergency(), *STEPS)
        writer.append(SETTLED, answer())
    return tmp_path


def verify(directory: Path) -> None:
    with LedgerReader.open(directory) as reader:
        report = reader.verify()
        assert (report.records, report.transactions, report.open_transactions) == (24, 4, 0)


def test_what_was_said_is_sound(ledger: Path) -> None:
    verify(ledger)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (f"UPDATE transactions SET approval = NULL WHERE transaction_id = '{TX}'", f"record 7: .* about {TX}"),
        (
            f"UPDATE transactions SET approval = replace(approval, '2026-01', '2027-01') WHERE transaction_id = '{TX}'",
            f"record 7: .* about {TX}",
        ),
        (f"UPDATE transactions SET state = 'planned' WHERE transaction_id = '{WAITS}'", f"record 9: .* about {WAITS}"),
        (f"DELETE FROM transactions WHERE transaction_id = '{WAITS}'", f"record 9: .* about {WAITS}"),
        (
            f"UPDATE transactions SET approval = replace(approval, 'eva', 'sue') WHERE transaction_id = '{RAN}'",
            f"record 17: .* about {RAN}",
        ),
        (f"UPDATE transactions SET begun_seq = 10 WHERE transaction_id = '{RAN}'", f"record 17: .* about {RAN}"),
        (
            f"UPDATE transactions SET approval = '{{\"owed\":\"2026\"}}' WHERE transaction_id = '{SETTLED}'",
            f"record 23: .* about {SETTLED}",
        ),
        ("UPDATE targets SET seq = 24", "record 23: the index of targets is wrong about jail:web"),
    ],
)
def test_an_index_that_says_something_else_of_it_is_named(ledger: Path, statement: str, message: str) -> None:
    tamper(ledger, statement)
    with pytest.raises(LedgerDamaged, match=message):
        verify(ledger)


def in_words(event: TransactionEvent, transaction: str, version: int) -> dict[str, Any]:
    said = event.model_dump(mode="json")
    place = {"transaction": transaction, "stream": transaction, "version": version, "target": "jail:web"}
    approval = said.get("approval") if event.type == "transaction.begun" else None
    return {**place, "type": event.type, "event": said, "schema_version": event.schema_version, "approval": approval}


@pytest.mark.parametrize(
    ("event", "transaction", "version", "cause"),
    [
        (runs().model_copy(update={"plan": {"padding": "y"}}), WAITS, 3, "it is not what was planned"),
        (runs().model_copy(update={"approval": None}), WAITS, 3, "the approval is not the one that was given"),
        (given(), WAITS, 3, "the plan is approved"),
        (answer(), SETTLED, 8, "had already ended"),
        (runs(), RAN, 9, "had already ended"),
        (answer(late=True), TX, 7, "it does not tell rightly whether it is late"),
    ],
)
def test_a_well_hashed_word_that_nobody_could_have_said_is_named(
    ledger: Path, event: TransactionEvent, transaction: str, version: int, cause: str
) -> None:
    forge(ledger, in_words(event, transaction, version), transaction=transaction)
    with pytest.raises(LedgerDamaged, match=f"record 25: .*{cause}"):
        verify(ledger)
