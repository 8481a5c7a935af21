"""What persons said of a change: of plans that wait, of emergencies, and afterwards."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger.reader import LedgerReader
from projections import asof
from projections.metrics import LedgerState, metrics
from projections.projector import Projector
from projections.queries import all_targets, all_transactions
from projections.questions import Scope, ask, by_state, people
from tests.ledger.attacks import forge
from tests.ledger.fakes import create, whole_upgrade

PAUL: dict[str, Any] = {"uid": 1001, "login": "paul", "source": "login-uid", "through": [], "claimed": None}
EVA: dict[str, Any] = {**PAUL, "uid": 1002, "login": "eva"}
ORDER: dict[str, Any] = {
    "kind": "upgrade",
    "target": "jail:web",
    "steps": ["stop_jail"],
    "before": {"deployment": {"release": "base@aaaa0001"}, "running": True},
    "after": {"deployment": {"release": "base@aaaa0002"}, "running": True},
    "plan": {},
    "reason": "CVE-2026-1",
    "ticket": None,
    "approval": None,
}
APPROVAL = {"by": "eva", "at": "2026-03-14T01:00:00.000000Z", "meaning": "looked at"}


def planned() -> dict[str, Any]:
    waits = {"by": PAUL, "required": True, "self_approval": False, "expires_at": "2026-03-15T00:00:00.000000Z"}
    return said("transaction.planned", {**ORDER, **waits})


def given(basis: str = "second-person", *, by: Any = EVA, retroactive: bool = False, late: bool = False) -> Any:
    event = {"by": by, "basis": basis, "reason": "looked at", "at": APPROVAL["at"]}
    return said("approval.given", {**event, "retroactive": retroactive, "late": late})


def refused(*, retroactive: bool = False) -> dict[str, Any]:
    event = {"by": EVA, "reason": "not now", "at": APPROVAL["at"], "retroactive": retroactive, "late": False}
    return said("approval.refused", event)


def begun(basis: str, approval: object = None, window: str = "inside") -> dict[str, Any]:
    state = {"state": window, "name": "sundays", "note": None, "next": None}
    settle_by = "2026-03-16T00:00:00.000000Z" if basis == "emergency" else None
    authority = {"basis": basis, "by": PAUL, "window": state, "planned_by": None, "approved_by": None}
    event = {**ORDER, "approval": approval, "authority": {**authority, "settle_by": settle_by}}
    return {**said("transaction.begun", event), "schema_version": 2, "approval": approval}


def committed() -> dict[str, Any]:
    return said("transaction.committed", {"duration_ns": 5, "downtime_ns": None})


def said(kind: str, event: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "event": {"type": kind, **event}, "schema_version": 1}


class Told:
    """A ledger with one upgrade of web before the story, and what the tables make of the story."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with create(directory) as ledger:
            ledger.append("aaaa0001", *whole_upgrade())
        self.projector = Projector(sqlite3.connect(":memory:", isolation_level=None))

    @property
    def tables(self) -> sqlite3.Connection:
        with LedgerReader.open(self.directory) as reader:
            self.projector.catch_up(reader)
        return self.projector.database.conn

    def tell(self, name: str, *records: dict[str, Any]) -> None:
        stream = {"transaction": name, "stream": name, "target": "jail:web"}
        for number, record in enumerate(records, 1):
            forge(self.directory, {**stream, "version": number, "approval": None, **record}, transaction=name)

    def change(self, name: str) -> dict[str, Any]:
        found = ask(self.tables, "all-changes", Scope())
        return next(row for row in found if row["transaction_id"] == name)


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    """Nothing has been said yet."""
    found = Told(tmp_path)
    with closing(found.projector):
        yield found


@pytest.mark.parametrize(
    ("records", "state", "verdict"),
    [
        ((planned(),), "planned", "awaiting"),
        ((planned(), given()), "approved", "awaiting"),
        ((planned(), refused()), "rejected", "disapproved"),
        ((planned(), given(), begun("second-person", APPROVAL), committed()), "committed", "approved"),
        ((planned(), given("self", by=PAUL), begun("self", APPROVAL), committed()), "committed", "self-approved"),
        ((begun("none-required"), committed()), "committed", "not-required"),
        ((begun("recovery"), committed()), "committed", "recovery"),
        ((begun("emergency"), committed()), "committed", "owed"),
        ((begun("emergency"), committed(), given(retroactive=True)), "committed", "retroactive"),
        ((begun("emergency"), committed(), given(retroactive=True, late=True)), "committed", "late"),
        ((begun("emergency"), committed(), given("self", by=PAUL, retroactive=True)), "committed", "self-approved"),
        ((begun("emergency"), committed(), refused(retroactive=True)), "committed", "disapproved"),
    ],
)
def test_every_way_to_be_approved_has_its_word(told: Told, records: tuple[Any, ...], state: str, verdict: str) -> None:
    told.tell("dddd0001", *records)
    change = told.change("dddd0001")
    assert (change["state"], change["approval"]) == (state, verdict)
    unapproved = {row["transaction_id"] for row in ask(told.tables, "unapproved", Scope())}
    is_open = {row["transaction_id"] for row in ask(told.tables, "open", Scope())}
    shown = verdict not in ("approved", "awaiting", "recovery") and state != "rejected"
    assert ("dddd0001" in unapproved) == shown
    assert ("dddd0001" in is_open) == (verdict in ("awaiting", "owed"))
    has_begun = any(record["type"] == "transaction.begun" for record in records)
    population = {row["transaction_id"] for row in ask(told.tables, "population", Scope())}
    assert population == ({"aaaa0001", "dddd0001"} if has_begun else {"aaaa0001"})
    assert sum(by_state(told.tables, Scope()).values()) == len(population)
    said = metrics(told.tables, LedgerState(9, 9, None, False, 0))
    assert f'rootswap_open_transactions{{state="planned"}} {int(state == "planned")}\n' in said
    assert f'rootswap_open_transactions{{state="approved"}} {int(state == "approved")}\n' in said
    assert f"rootswap_approvals_owed {int(verdict == 'owed')}\n" in said
    assert [person["begun"] for person in people(told.tables, Scope()) if person["begun"]] == [len(population)]


def test_a_plan_begins_with_the_record_that_begins_it(told: Told) -> None:
    told.tell("dddd0001", planned(), given(), begun("second-person", APPROVAL, "frozen"), committed())
    line = next(line for line in all_transactions(_projector(told)) if line.transaction_id == "dddd0001")
    assert (line.state, line.begun_seq, line.last_seq) == ("committed", 10, 11)
    assert told.change("dddd0001")["begun_seq"] == 10
    assert [row["window"] for row in ask(told.tables, "outside-window", Scope())] == ["frozen"]
    assert {person["login"]: person["approved"] for person in people(told.tables, Scope())} == {"paul": 0, "eva": 1}


def test_a_plan_that_waits_holds_nothing(told: Told) -> None:
    told.tell("dddd0001", planned(), given())
    assert "dddd0001" not in {line.transaction_id for line in all_transactions(_projector(told))}
    standing = asof.standings_at(told.tables, 9)
    assert [(one.target, one.by, one.open) for one in standings_of_web(standing)] == [("jail:web", "aaaa0001", None)]


def test_a_late_answer_does_not_bring_back_what_was_long_replaced(told: Told) -> None:
    told.tell("dddd0001", begun("emergency"), committed())
    told.tell("dddd0002", begun("none-required"), committed())
    before = all_targets(_projector(told), "jail")
    forge(
        told.directory,
        {**given(retroactive=True, late=True), "transaction": "dddd0001", "stream": "dddd0001", "version": 3},
        transaction="dddd0001",
    )
    assert told.change("dddd0001")["approval"] == "late"
    assert all_targets(_projector(told), "jail") == before
    assert before["web"].settled_by == "dddd0002"
    line = next(line for line in all_transactions(_projector(told)) if line.transaction_id == "dddd0001")
    assert line.last_seq == 9, "what is said later does not count"


def _projector(told: Told) -> Projector:
    assert told.tables is not None
    return told.projector


def standings_of_web(standings: list[asof.Standing]) -> list[asof.Standing]:
    return [one for one in standings if one.target == "jail:web"]
