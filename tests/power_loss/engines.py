"""What ledger and host must be after a power cut in the middle of a transaction, judged by a real recovery."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from commands.transactions.plan import Plan
from ledger.errors import RootswapError
from tests.power_loss import ledgers
from tests.power_loss.engine_programs import Beginning, site_of
from tests.power_loss.ledgers import Demand, Fault, Verdict
from tests.power_loss.trace import Mark, Op
from tests.recovery.test_crash_points import Stage, check
from tests.site import Site

#: An intent: transaction, verb, step, attempt. The clean-up has the commit of its transaction for an intent.
Intent = tuple[str, str, int, int]


@dataclass(frozen=True)
class Moment:
    """What holds at a point of the trace: the host, the intents of all that was done to it, what was acknowledged."""

    demand: Demand
    state: dict[str, str]
    intents: frozenset[Intent]

    @property
    def key(self) -> str:
        """Two moments with the same key are judged alike."""
        return repr((len(self.demand.acknowledged), len(self.demand.next_commit), sorted(self.state.items())))


@dataclass
class Course:
    """A trace of the engine, and the host at its two ends."""

    beginning: Beginning
    before: dict[str, str]
    after: dict[str, str]
    moments: list[Moment] = field(default_factory=list)
    effects: int = 0

    @classmethod
    def of(cls, ops: Sequence[Op], after: dict[str, str] | None = None) -> "Course":
        """Read a trace. Its last state is the planned one, unless ``after`` is given."""
        marks = [op for op in ops if isinstance(op, Mark)]
        beginning = Beginning.of(next(mark for mark in marks if mark.kind == "beginning"))
        state = beginning.state
        course = cls(beginning, _host(state), {})
        intents: frozenset[Intent] = frozenset()
        for op, demand in zip(ops, ledgers.demands(ops), strict=True):
            if isinstance(op, Mark) and op.kind == "effect":
                found = op.content["state"]
                assert isinstance(found, dict)
                state, course.effects = found, course.effects + 1
                intents |= {_intent(op)}
            course.moments.append(Moment(demand, state, intents))
        course.after = _host(state) if after is None else after
        return course

    def judge(self, point: int, directory: Path, number: int) -> Verdict | None:
        """The faults of the image in ``directory``, as that of ``point``."""
        moment = self.moments[point]
        try:
            stored = ledgers.stored(directory)
            if missing := moment.intents - _intents(stored):
                return Verdict(Fault.UNINTENDED, str(sorted(missing)))
            if verdict := moment.demand.compare(stored):
                return verdict
            return self._recover(moment, directory, twice=number % 4 == 0)
        except RootswapError as error:
            return Verdict(Fault.UNREADABLE, f"{type(error).__name__}: {error}")

    def _recover(self, moment: Moment, directory: Path, *, twice: bool) -> Verdict | None:
        site = site_of(directory, self.beginning, moment.state)
        site.reboot()
        replay = Replay(site, self.beginning)
        try:
            assert replay.recover()
            check(replay, self.before, self.after, "after the power cut")
            if twice:
                first = dict(site.world.state), replay.last_seq()
                assert replay.recover()
                assert (site.world.state, replay.last_seq()) == first, "a second recovery changed something"
        except AssertionError as error:
            return Verdict(Fault.HOST, str(error))
        return None


class Replay(Stage):
    """A stage that is not set up but taken from a trace."""

    def __init__(self, site: Site, beginning: Beginning) -> None:
        self.site = site
        self.plan: Plan = beginning.plan
        self.settled = beginning.settled  # type: ignore[assignment]


def _host(state: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in state.items() if not key.startswith("snapshot:")}


def _intent(mark: Mark) -> Intent:
    step, attempt = mark.content.get("step", 0), mark.content.get("attempt", 0)
    assert isinstance(step, int)
    assert isinstance(attempt, int)
    return str(mark.content["transaction"]), str(mark.content["verb"]), step, attempt


#: The types of records that are intents, and the verbs of what they allow.
_VERBS = {"step.started": "run", "step.undo-started": "undo", "transaction.committed": "clean up"}


def _intents(stored: Sequence[bytes]) -> set[Intent]:
    """All intents that these records name."""
    found: set[Intent] = set()
    for record in map(json.loads, stored):
        if verb := _VERBS.get(record["type"]):
            event = record["event"]
            found.add((record["transaction"], verb, event.get("step", 0), event.get("attempt", 0)))
    return found
