"""Random histories that the lifecycle allows, and ledgers that hold them."""

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from pydantic import TypeAdapter

from ledger.errors import IllegalEvent
from ledger.events import (
    JsonObject,
    OperatorDecided,
    RebootObserved,
    RebootRequested,
    RecoveryDecided,
    RecoveryStarted,
    StepFailed,
    StepSkipped,
    StepStarted,
    StepSucceeded,
    StepUndoFailed,
    StepUndone,
    StepUndoStarted,
    TransactionBegun,
    TransactionCommitted,
    TransactionEvent,
    TransactionRejected,
    TransactionRolledBack,
    TransactionStuck,
    UnwindStarted,
)
from ledger.facts import Fact, JailStopped, ReleaseRetired, SnapshotTaken
from ledger.lifecycle import TransactionStatus, apply
from ledger.reader import LedgerReader
from ledger.writer import LedgerWriter
from projections import records
from projections.projector import Projector
from projections.timeline import LogLine
from tests.ledger.fakes import ORIGIN, CountedIds, FakeClock
from tests.projections import people

TARGETS = ("jail:web", "jail:mail", "template:debian", "release:debian")


class JumpyClock(FakeClock):
    """A clock that somebody sets back from time to time."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    def advance(self) -> None:
        """Some seconds pass, or an hour is taken back."""
        self.moment += timedelta(hours=-1) if self._chance.random() < 0.05 else timedelta(seconds=3)


def identifier(number: int) -> str:
    return f"{number:08d}"


def write(directory: Path, chance: random.Random, count: int) -> None:
    """A ledger of ``count`` commits in ``directory``."""
    clock = JumpyClock(chance)
    with LedgerWriter.create(directory, ORIGIN, clock, new_id=CountedIds()) as ledger:
        play = _Play(ledger, clock, chance)
        for _ in range(count):
            clock.advance()
            if chance.random() < 0.05:
                ledger.note(RecoveryStarted(boot_id="boot-1", open=tuple(play.open_on.values())))
            play.go_on()


class _Play:
    """A history under way."""

    def __init__(self, ledger: LedgerWriter, clock: JumpyClock, chance: random.Random) -> None:
        self.ledger = ledger
        self.clock = clock
        self.chance = chance
        self.statuses: dict[str, TransactionStatus] = {}
        self.open_on: dict[str, str] = {}
        self.settled: dict[str, JsonObject | None] = dict.fromkeys(TARGETS)

    def go_on(self) -> None:
        """One more event: somebody says something, a transaction goes on, or one begins or is planned."""
        chance, now = self.chance, self.clock.moment
        asked = [name for name, status in self.statuses.items() if people.waits_for_a_word(status)]
        if asked and chance.random() < 0.2:
            name = chance.choice(asked)
            target = self.statuses[name].target
            is_free = target not in self.open_on and self.statuses[name].before == self.settled[target]
            self._say(name, people.next_word(self.statuses[name], now, chance, is_free=is_free))
            return
        target = chance.choice(TARGETS)
        if target in self.open_on:
            name = self.open_on[target]
            self._say(name, _next(self.statuses[name], name, chance))
            return
        name = identifier(len(self.statuses) + 1)
        order = _begin(target, name, self.settled[target], chance)
        match chance.randrange(6):
            case 0:
                self._say(name, people.put_off(order, now, chance))
            case 1:
                self._say(name, people.on_the_word_of(order, "emergency", now, chance))
            case 2:
                self._say(name, people.on_the_word_of(order, "none-required", now, chance))
            case _:
                self._say(name, order)

    def _say(self, name: str, event: TransactionEvent) -> None:
        self.ledger.append(name, event)
        before = self.statuses.get(name)
        status = self.statuses[name] = apply(before, event)
        if status.is_open:
            self.open_on[status.target] = name
        elif before is not None and before.is_open:
            del self.open_on[status.target]
            if not isinstance(event, TransactionRejected):
                self.settled[status.target] = status.settled


def _begin(target: str, name: str, before: JsonObject | None, chance: random.Random) -> TransactionBegun:
    kinds: tuple[str, ...] = ("take_snapshot",) if target.startswith("template") else ("retire_release",)
    after: JsonObject | None = None
    if target.startswith("template"):
        after = {"head": name, "release": f"debian@{name}"}
    elif target.startswith("jail"):
        kinds = ("stop_jail", "start_jail")
        past = [before["deployment"]] if before else []
        release = f"debian@{identifier(chance.randrange(4))}"
        if before and chance.random() < 0.4:
            after = {**before, "running": chance.random() < 0.5}
        else:
            after = {"deployment": {"release": release}, "history": past, "running": True}
    return TransactionBegun(
        kind="change",
        target=target,
        steps=kinds,
        before=before,
        after=after,
        plan={},
        reason=chance.choice([None, "x"]),
    )


def _next(status: TransactionStatus, name: str, chance: random.Random) -> TransactionEvent:
    for make in chance.sample(CANDIDATES, len(CANDIDATES)):
        step = chance.randrange(len(status.kinds)) + 1
        event = make(status, name, step, chance)
        try:
            apply(status, event)
        except IllegalEvent:
            continue
        return event
    return (
        OperatorDecided(choice="accept-before", by="paul", why="enough")
        if status.state == "stuck"
        else (TransactionStuck(cause="no way on"))
    )


def _fact(kind: str, name: str, chance: random.Random) -> Fact:
    if kind == "take_snapshot":
        return SnapshotTaken(before=None, after=f"debian@{name}", release=f"debian@{name}", fingerprint="f")
    if kind == "retire_release":
        release = f"debian@{identifier(chance.randrange(1, 12))}"
        return ReleaseRetired(before=release, after=None, release=release)
    return JailStopped(before="running", after="stopped", jail="web")


Make = Callable[[TransactionStatus, str, int, random.Random], TransactionEvent]

#: What may come next, more often than not on the way forward.
CANDIDATES: list[Make] = [
    lambda s, t, n, c: StepStarted(step=n, kind=s.kinds[n - 1], attempt=s.attempts[n - 1] + 1),
    lambda s, t, n, c: StepSucceeded(
        step=n, kind=s.kinds[n - 1], attempt=s.attempts[n - 1], fact=_fact(s.kinds[n - 1], t, c), duration_ns=n
    ),
    lambda s, t, n, c: TransactionCommitted(duration_ns=9, downtime_ns=c.choice([None, 5])),
    lambda s, t, n, c: StepFailed(
        step=n, kind=s.kinds[n - 1], attempt=s.attempts[n - 1], error="it broke", duration_ns=None
    ),
    lambda s, t, n, c: StepSkipped(step=n, kind=s.kinds[n - 1], reason="nothing to do"),
    lambda s, t, n, c: UnwindStarted(cause="a step failed"),
    lambda s, t, n, c: StepUndoStarted(step=n, kind=s.kinds[n - 1], attempt=s.undo_attempts[n - 1] + 1),
    lambda s, t, n, c: StepUndone(step=n, kind=s.kinds[n - 1], duration_ns=n, observed=c.random() < 0.5),
    lambda s, t, n, c: StepUndoFailed(step=n, kind=s.kinds[n - 1], error="still broken", duration_ns=n),
    lambda s, t, n, c: TransactionRolledBack(cause="a step failed", duration_ns=9, downtime_ns=None),
    lambda s, t, n, c: TransactionRejected(cause="no"),
    lambda s, t, n, c: TransactionStuck(cause="foreign"),
    lambda s, t, n, c: RecoveryDecided(step=n, presence="absent", action="run", reason="it is not there"),
    lambda s, t, n, c: OperatorDecided(
        choice=c.choice(["continue", "unwind", "accept-planned", "accept-before"]), by="paul", why="seen to"
    ),
    lambda s, t, n, c: RebootRequested(boot_id="boot-1", target="slot b"),
    lambda s, t, n, c: RebootObserved(boot_id="boot-2", booted="slot b"),
]


def splits(chance: random.Random, last: int) -> Iterator[int]:
    """Positions on the way to ``last`` at which to stop and go on."""
    yield from sorted(chance.sample(range(last + 1), chance.randrange(min(6, last) + 1)))


def log_of(
    reader: LedgerReader,
    projector: Projector,
    *,
    since: str = "",
    until: str = "",
    target: str | None = None,
    transaction: str | None = None,
    limit: int = -1,
) -> list[LogLine]:
    """The log as lines."""
    rows = records.log(reader, projector.database.conn, records.LogScope(since, until, target, transaction), limit)
    return [TypeAdapter(LogLine).validate_python(row) for row in rows]
