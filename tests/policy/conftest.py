"""The command line on a host in memory, in the hands of two persons."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ledger.authority import Person
from ledger.codec import Record
from ledger.events import TransactionBegun
from ledger.reader import LedgerReader
from tests.cli.bench import CONFIG, Bench, Printed, make_bench

PAUL = Person(uid=61001, login="paul", source="login-uid")
EVA = Person(uid=61002, login="eva", source="process")

POLICY = """
[policy]
require_approval = true
"""


@dataclass
class Office:
    """Paul and Eva at one host, whose policy is ``policy``."""

    bench: Bench
    policy: str = POLICY

    def configure(self, policy: str = "", *, jails: str = "") -> None:
        """Write the configuration with another policy."""
        text = CONFIG.format(state=self.bench.directory / "state")
        self.bench.configure(text + jails + policy)

    def settle(self) -> None:
        """As ``Bench.settle``, before there was a policy."""
        self.configure()
        self.bench.settle()
        self.configure(self.policy)

    @contextmanager
    def at(self, person: Person) -> Iterator[None]:
        """``person`` sits down."""
        before, self.bench.person = self.bench.person, person
        try:
            yield
        finally:
            self.bench.person = before

    def run(self, person: Person, *words: str) -> Printed:
        """``person`` types a command line."""
        with self.at(person):
            return self.bench.run(*words)

    def plan(self, person: Person = PAUL, *words: str) -> str:
        """The identifier of a plan of ``person``, by default to upgrade web."""
        printed = self.run(person, "plan", *(words or ("web",)), "--reason", "CVE-2026-1", "--json")
        assert printed.code == 0, printed.err
        transaction: str = printed.data["transaction"]
        return transaction

    def records(self, transaction: str) -> list[Record]:
        """The records of a transaction, after the whole ledger was verified."""
        with LedgerReader.open(self.bench.ledger) as reader:
            reader.verify()
            return [record for record in reader.records(transaction=transaction) if isinstance(record, Record)]

    def begun(self, transaction: str) -> TransactionBegun:
        """The record with which a transaction began."""
        return next(one.event for one in self.records(transaction) if isinstance(one.event, TransactionBegun))

    @property
    def release(self) -> str:
        """What web runs on."""
        return self.bench.world.state["jail:web"]


@pytest.fixture
def office(fast_directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Office:
    """Two persons at a host where web could be upgraded, and the policy wants both of them."""
    office = Office(make_bench(fast_directory, capsys, monkeypatch))
    office.settle()
    return office
