"""A whole rootswap in memory around a real ledger: what the laws and the crash tests play with.

Every driver call (each look, and each primitive change before and after) and every append (before and after) passes one
gate. A ``Script`` counts the points at that gate and crashes, or fails, at a chosen one. A crash is a BaseException,
which nothing in the engine catches: like the death of the process.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from commands.bootstrap import ROOT, Session, compose
from commands.config import Config
from commands.drivers.base import Drivers
from commands.drivers.memory import MemoryWorld
from commands.errors import DriverError
from commands.transactions.interrupt import Interrupt
from commands.transactions.plan import Plan, Purpose
from commands.transactions.run import Outcome
from ledger.authority import Person
from ledger.codec import Actor, Origin, Record
from ledger.events import TransactionEvent
from ledger.writer import LedgerWriter


class Crash(BaseException):
    """The process dies here."""


@dataclass
class FakeClock:
    """Time that passes a millisecond at each look."""

    moment: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    ticks: int = 0

    def now(self) -> datetime:
        self.moment += timedelta(milliseconds=1)
        return self.moment

    def monotonic_ns(self) -> int:
        self.ticks += 1_000_000
        return self.ticks

    def sleep(self, seconds: float) -> None:
        self.ticks += int(seconds * 1e9)
        self.moment += timedelta(seconds=seconds)


@dataclass
class Script:
    """Counts the points and strikes at one: ``strike_at`` counts from 1; None only counts."""

    strike_at: int | None = None
    strike: Callable[[str], BaseException] = Crash
    only: str = ""
    seen: list[str] = field(default_factory=list)

    def __call__(self, point: str) -> None:
        if self.only and not point.startswith(self.only):
            return
        self.seen.append(point)
        if len(self.seen) == self.strike_at:
            raise self.strike(f"struck at point {len(self.seen)}: {point}")


class GatedLedger(LedgerWriter):
    """The real ledger with the gate before and after each append."""

    gate: Callable[[str], None] = staticmethod(lambda _point: None)

    def append(self, transaction: str, *events: TransactionEvent) -> tuple[Record, ...]:
        names = ", ".join(event.type for event in events)
        self.gate(f"before appending {names}")
        records = super().append(transaction, *events)
        self.gate(f"after appending {names}")
        return records


CONFIG = Config.model_validate(
    {
        "state_directory": "/memory",
        "storage": {"path": "/memory/pool"},
        "template": {"debian": {"bootstrap": "debian", "suite": "bookworm"}},
        "jail": {
            name: {
                "template": "debian",
                "command": ["/usr/sbin/nginx"],
                "volumes": {"log": "/var/log/nginx", "home": "/home"},
                "health": {"page": {"http": "http://127.0.0.1/", "timeout_s": 0.02}},
            }
            for name in ("web", "mail")
        },
    }
)


class Site:
    """One host in memory, its ledger in ``directory``. ``boot`` changes at a reboot."""

    def __init__(self, directory: Path, config: Config = CONFIG) -> None:
        self.directory = directory
        self.config = config
        self.world = MemoryWorld(clock=FakeClock(), drivers_of_jails=frozenset({"lxc"}))
        self.boot = "boot-1"
        self.person = ROOT
        self.interrupt = Interrupt()
        self.observed: list[Record] = []
        self._ids = itertools.count()

    @contextmanager
    def session(self, gate: Callable[[str], None] | None = None) -> Iterator[Session]:
        """An engine, as a process would have it: opened, used, and gone (by a crash too)."""
        actor = Actor(uid=0, login="root", login_uid=None, invoked=("test",), tty=None)
        origin = Origin(host_id="host", boot_id=self.boot, engine_version="0", actor=actor)
        with GatedLedger.create(self.directory, origin, self.world.clock) as ledger:
            session = compose(
                self.config, ledger, self.drivers(), self.interrupt, self._observe, self.boot, person=self.person
            )
            session.requests._new_id = session.recoverer._new_id = self.new_id
            ledger.gate = gate or (lambda _point: None)
            self.guard(ledger.gate)
            try:
                yield session
            finally:
                self.guard(lambda _point: None)

    def drivers(self) -> Drivers:
        """The drivers of the host."""
        return self.world.drivers()

    def guard(self, gate: Callable[[str], None]) -> None:
        """Let every look and every change of the host pass the gate."""
        self.world.gate = gate

    def new_id(self) -> str:
        return f"{next(self._ids):08d}"

    def run(self, request: Callable[[Session], Plan | None], gate: Callable[[str], None] | None = None) -> Outcome:
        """Plan (ungated, for preflight changes nothing) and execute."""
        with self.session() as session:
            plan = request(session)
        assert plan is not None
        with self.session(gate) as session:
            return session.engine.execute(plan, Purpose(reason="test"))

    def approve(self, request: Callable[[Session], Plan | None]) -> str:
        """A plan of one person that another has approved; returns its transaction."""
        self.person = Person(uid=61001, login="paul", source="process")
        with self.session() as session:
            plan = request(session)
            assert plan is not None
            session.proposals.propose(plan, Purpose(reason="test"))
        self.person = Person(uid=61002, login="eva", source="process")
        with self.session() as session:
            session.proposals.approve(plan.transaction, "test")
        return plan.transaction

    def settle(self) -> "Site":
        """Pool, template with two releases, and the jail ``web`` deployed on the first of them."""
        self.run(lambda session: session.requests.init()).raise_unless_committed()
        self.run(lambda session: session.requests.build("debian")).raise_unless_committed()
        self.run(lambda session: session.requests.upgrade("web", None)).raise_unless_committed()
        self.run(lambda session: session.requests.upgrade_template("debian", None)).raise_unless_committed()
        return self

    def reboot(self) -> None:
        self.boot = f"boot-{int(self.boot.partition('-')[2]) + 1}"
        self.world.reboot()

    def spoil(self, release: str) -> None:
        """Let no jail get well on a release."""
        self.world.unhealthy.add(release)

    def save(self) -> object:
        """The whole host as it is now, for ``load``."""
        return dict(self.world.state)

    def load(self, saved: object) -> None:
        """Put the host back."""
        assert isinstance(saved, dict)
        self.world.state.clear()
        self.world.state.update(saved)

    def host(self) -> dict[str, str]:
        """The host, without data snapshots: those are kept on every way out."""
        return {key: value for key, value in self.world.state.items() if not key.startswith("snapshot:")}

    def _observe(self, _plan: Plan, record: Record) -> None:
        self.observed.append(record)


def fail(message: str) -> BaseException:
    """A driver's failure, for a Script."""
    return DriverError(message)
