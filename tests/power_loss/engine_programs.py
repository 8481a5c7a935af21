"""The whole engine around the real ledger, on a host in memory whose every change is a mark in the trace.

Run as ``python -m tests.power_loss.engine_programs ROOT ACTION …``: ``prepare`` a scenario, then ``execute`` its plan,
then ``recover`` if that was killed. The host outlives a process in the marks.
"""

import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

import tests.site
from commands.bootstrap import Session
from commands.transactions.plan import Plan, Purpose, plan_from_json, plan_to_json
from commands.transactions.run import Run
from ledger import rows
from ledger.clock import Clock
from ledger.codec import Origin, Record, encode
from ledger.events import LedgerEvent, TransactionEvent
from tests.power_loss.programs import LEDGER, Tell, connector, teller
from tests.power_loss.sweep import LONG_AGO
from tests.power_loss.trace import MARKS, Mark, pack, parse_mark
from tests.recovery.test_crash_points import SCENARIOS, prepare
from tests.site import GatedLedger, Site

R = TypeVar("R")
#: Identifiers of transactions that are begun by a recovery, or after the power cut.
LATER = 5000


@dataclass
class Observer:
    """Marks each change of the host with what made it: a step's run or undo, or else the clean-up."""

    tell: Tell
    site: Site
    acting: dict[str, object] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)

    def watch(self, session: Session, transaction: str) -> None:
        """Mark what this session's ledger acknowledges and its engine does; before it, what the ledger holds."""
        ledger, engine = session.ledger, session.engine
        self.acting, self.told = {"transaction": transaction, "verb": "clean up"}, dict(self.site.world.state)
        self._ack([row.record for row in rows.select(ledger._store.connection, "ORDER BY seq")])
        append, note = ledger.append, ledger.note

        def appended(transaction: str, *events: TransactionEvent) -> tuple[Record, ...]:
            return self._acknowledged(append(transaction, *events))

        def noted(*events: LedgerEvent) -> tuple[Record, ...]:
            return self._acknowledged(note(*events))

        ledger.append, ledger.note = appended, noted  # type: ignore[method-assign]
        run, undo = engine._run, engine._undo
        engine._run = self._during("run", run)  # type: ignore[method-assign]
        engine._undo = self._during("undo", undo)  # type: ignore[method-assign]

    def gate(self, point: str) -> None:
        """Called before and after everything that the engine does; a change is marked once it is made."""
        state = self.site.world.state
        if point.startswith("after ") and (state != self.told or "building" in point):
            self.told = dict(state)
            self.tell("effect", {"point": point, "state": self.told, **self.acting})

    def _during(self, verb: str, method: Callable[..., R]) -> Callable[..., R]:
        def acting(run: Run, number: int, *rest: object) -> R:
            before = self.acting
            attempts = run.known.attempts if verb == "run" else run.known.undo_attempts
            self.acting = {
                "transaction": run.plan.transaction,
                "verb": verb,
                "step": number,
                "attempt": attempts[number - 1],
            }
            try:
                return method(run, number, *rest)
            finally:
                self.acting = before

        return acting

    def _acknowledged(self, records: tuple[Record, ...]) -> tuple[Record, ...]:
        self._ack([encode(record) for record in records])
        return records

    def _ack(self, records: list[bytes]) -> None:
        self.tell("ack", {"records": [pack(record) for record in records]})


@dataclass(frozen=True)
class Beginning:
    """A scenario before its plan is carried out, as a mark keeps it."""

    plan: Plan
    settled: dict[str, object]
    unhealthy: frozenset[str]
    state: dict[str, str]

    @classmethod
    def of(cls, mark: Mark) -> Self:
        """The beginning that ``prepare_scenario`` has marked."""
        content: dict[str, object] = mark.content
        settled, unhealthy, state = content["settled"], content["unhealthy"], content["state"]
        assert isinstance(settled, dict)
        assert isinstance(unhealthy, list)
        assert isinstance(state, dict)
        plan = plan_from_json(content["plan"])  # type: ignore[arg-type]
        return cls(plan, settled, frozenset(unhealthy), state)


def site_of(directory: Path, beginning: Beginning, state: dict[str, str]) -> Site:
    """The site with the host in ``state``."""
    site = Site(directory)
    site.world.state.update(state)
    site.world.unhealthy |= beginning.unhealthy
    site._ids = itertools.count(LATER)
    return site


def prepare_scenario(root: Path, name: str) -> None:
    """Bring ledger and host to where the scenario begins, and plan."""
    start, request = SCENARIOS[name]
    site = prepare(Site(root / LEDGER), start)
    with site.session() as session:
        plan = request(session)
        assert plan is not None
        settled = session.ledger.settled_targets()
    tell = teller(root)
    tell(LONG_AGO, {})
    beginning = {"plan": plan_to_json(plan), "settled": settled, "unhealthy": sorted(site.world.unhealthy)}
    tell("beginning", {**beginning, "state": site.world.state})


def act(root: Path, action: str) -> None:
    """Execute the plan, or recover."""
    marks = [parse_mark(line) for line in (root / MARKS).read_bytes().splitlines()]
    beginning = Beginning.of(next(mark for mark in marks if mark.kind == "beginning"))
    state = [mark for mark in marks if "state" in mark.content][-1].content["state"]
    assert isinstance(state, dict)
    site = site_of(root / LEDGER, beginning, state)
    observer = Observer(teller(root), site)
    with site.session(observer.gate) as session:
        observer.watch(session, beginning.plan.transaction)
        if action == "recover":
            session.recoverer.recover()
        else:
            session.engine.execute(beginning.plan, Purpose(reason="test"))


def weaken(connection: str) -> None:
    """Have all ledgers of this process opened in another way than shipped."""

    class WeakLedger(GatedLedger):
        @classmethod
        def create(cls, directory: Path, origin: Origin, clock: Clock, **_others: object) -> Self:
            return super().create(directory, origin, clock, connect=connector(connection))

    tests.site.GatedLedger = WeakLedger  # type: ignore[misc]


if __name__ == "__main__":
    if len(sys.argv) > 3 and sys.argv[2] != "prepare":
        weaken(sys.argv[3])
    if sys.argv[2] == "prepare":
        prepare_scenario(Path(sys.argv[1]), sys.argv[3])
    else:
        act(Path(sys.argv[1]), sys.argv[2])
