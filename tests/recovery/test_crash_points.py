"""Crash at every point of every transaction; then the host is as before or as planned, and the ledger says which."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.bootstrap import Session
from commands.drivers.memory_world import BUILDING
from commands.transactions.plan import Plan, Purpose
from ledger.lifecycle import WAITING, State
from ledger.reader import LedgerReader
from tests.site import Crash, Script, Site

Request = Callable[[Session], Plan | None]

SCENARIOS: dict[str, tuple[str, Request]] = {
    "init": ("nothing", lambda session: session.requests.init()),
    "build": ("pool", lambda session: session.requests.build("debian")),
    "upgrade-template": ("settled", lambda session: session.requests.upgrade_template("debian", None)),
    "deploy": ("settled", lambda session: session.requests.upgrade("mail", None)),
    "upgrade": ("settled", lambda session: session.requests.upgrade("web", None)),
    "upgrade to a broken release": ("broken", lambda session: session.requests.upgrade("web", None)),
    "upgrade as approved": ("approved", lambda session: _approved(session)),
    "rollback": ("upgraded", lambda session: session.requests.rollback("web")),
    "stop": ("settled", lambda session: session.requests.stop("web")),
    "start": ("stopped", lambda session: session.requests.start("web")),
    "destroy-release": ("upgraded twice", lambda session: session.requests.destroy_release("debian@00000001")),
    "forget-release": ("lost", lambda session: session.requests.destroy_release("debian@00000001")),
}


#: How many crash points each scenario has: every look and change before and after, every append before and after.
POINTS = {
    "init": 12,
    "build": 18,
    "upgrade-template": 21,
    "deploy": 42,
    "upgrade": 44,
    "upgrade to a broken release": 90,
    "upgrade as approved": 44,
    "rollback": 44,
    "stop": 6,
    "start": 14,
    "destroy-release": 11,
    "forget-release": 7,
}


def _approved(session: Session) -> Plan:
    [waiting] = session.ledger.waiting()
    return session.proposals.ready(waiting.transaction)[0]


def prepare(site: Site, beginning: str) -> Site:
    """The site at the beginning of a scenario."""
    if beginning == "nothing":
        with site.session():
            return site
    if beginning == "pool":
        site.run(lambda session: session.requests.init())
        return site
    site.settle()
    if beginning == "broken":
        site.spoil("debian@00000003")
    if beginning.startswith("upgraded") or beginning == "lost":
        site.run(lambda session: session.requests.upgrade("web", None)).raise_unless_committed()
    if beginning in ("upgraded twice", "lost"):
        site.run(lambda session: session.requests.upgrade_template("debian", None)).raise_unless_committed()
        site.run(lambda session: session.requests.upgrade("web", None)).raise_unless_committed()
    if beginning == "lost":
        site.world.state["release:debian@00000001"] = BUILDING
    if beginning == "approved":
        site.approve(lambda session: session.requests.upgrade("web", None))
    if beginning == "stopped":
        site.run(lambda session: session.requests.stop("web")).raise_unless_committed()
    return site


class Stage:
    """A scenario at its beginning, to be played any number of times from the very same state."""

    def __init__(self, name: str, directory: Path, make: Callable[[Path], Site] = Site) -> None:
        beginning, self.request = SCENARIOS[name]
        self.base = directory / "base"
        self.site = prepare(make(self.base), beginning)
        self.state = self.site.save()
        with self.site.session() as session:
            plan = self.request(session)
            assert plan is not None
            self.plan = plan
            self.settled = session.ledger.settled_targets()
        self.before = self.site.host()
        self.directory = directory
        self.played = 0

    def restore(self) -> None:
        """Put the world and the ledger back to the beginning."""
        self.played += 1
        self.site.directory = self.directory / f"play-{self.played}"
        shutil.copytree(self.base, self.site.directory)
        self.site.boot = "boot-1"
        self.site.load(self.state)

    def play(self, script: Script) -> bool:
        """Execute the plan under the script; whether it came through without a crash."""
        try:
            with self.site.session(script) as session:
                session.engine.execute(self.plan, Purpose(reason="test"))
        except Crash:
            return False
        return True

    def recover(self, script: Script | None = None) -> bool:
        """Run recovery under the script; whether it came through without a crash."""
        try:
            with self.site.session(script) as session:
                session.recoverer.recover()
        except Crash:
            return False
        return True

    def last_seq(self) -> int:
        """How many records the ledger holds."""
        with LedgerReader.open(self.site.directory) as reader:
            return reader.last_seq()

    def done(self) -> None:
        shutil.rmtree(self.site.directory)


def ends_of(stage: Stage) -> tuple[dict[str, str], dict[str, str]]:
    """The host before, and as it is when the plan is carried out without a crash."""
    stage.restore()
    assert stage.play(Script())
    after = stage.site.host()
    stage.done()
    return stage.before, after


def check(stage: Stage, before: dict[str, str], after: dict[str, str], point: str) -> State | None:
    """The invariants after a recovery. Returns how the transaction ended, or None if it never began."""
    site = stage.site
    with site.session() as session:
        assert session.ledger.open_transactions() == {}, point
        settled = session.ledger.settled_targets()
    with LedgerReader.open(site.directory) as reader:
        reader.verify()
        found = [row for row in reader.transactions() if row.transaction == stage.plan.transaction]
    state = State(found[0].state) if found and found[0].state not in WAITING else None
    if state is State.COMMITTED:
        assert site.host() == after, point
    else:
        assert site.host() == before, point
        assert settled == stage.settled, point
    return state


@pytest.mark.parametrize("rebooted", [False, True], ids=["same boot", "after a reboot"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_recovery_from_a_crash_at_every_point_reaches_one_of_the_two_ends(
    name: str, rebooted: bool, fast_directory: Path, record_points: Callable[[str, int], None]
) -> None:
    stage = Stage(name, fast_directory)
    before, after = ends_of(stage)
    count = 0
    ends: set[State | None] = set()
    while True:
        count += 1
        stage.restore()
        script = Script(count)
        if stage.play(script):
            break
        if rebooted:
            stage.site.reboot()
        assert stage.recover()
        ends.add(check(stage, before, after, f"{name}: {script.seen[-1]}"))
        first = dict(stage.site.world.state), stage.last_seq()
        assert stage.recover()
        assert (stage.site.world.state, stage.last_seq()) == first, "a second recovery changed something"
        stage.done()
    record_points(f"{name}{' + reboot' if rebooted else ''}", count - 1)
    assert count - 1 == POINTS[name], "the number of crash points has changed: is a call no longer gated?"
    assert State.COMMITTED in ends or name == "upgrade to a broken release"
    assert ends & {State.ROLLED_BACK, State.REJECTED, None}


@pytest.mark.sweep
@pytest.mark.parametrize("name", ["upgrade", "rollback", "upgrade to a broken release", "deploy"])
def test_recovery_may_itself_crash_at_every_point(
    name: str, fast_directory: Path, record_points: Callable[[str, int], None]
) -> None:
    stage = Stage(name, fast_directory)
    before, after = ends_of(stage)
    crashes = 0
    point = 0
    met: set[tuple[frozenset[tuple[str, str]], int]] = set()
    while True:
        point += 1
        stage.restore()
        if stage.play(Script(point)):
            break
        found = frozenset(stage.site.world.state.items()), stage.last_seq()
        if found in met:  # a look lay between this point and one before: recovery meets the very same host and log
            stage.done()
            continue
        met.add(found)
        snapshot = stage.directory / "crashed"
        shutil.copytree(stage.site.directory, snapshot)
        crashed = stage.site.save()
        again = 0
        while True:
            again += 1
            script = Script(again)
            if stage.recover(script):
                break
            crashes += 1
            assert stage.recover()
            check(stage, before, after, f"{name}: point {point}, then in recovery {script.seen[-1]}")
            shutil.rmtree(stage.site.directory)
            shutil.copytree(snapshot, stage.site.directory)
            stage.site.load(crashed)
        shutil.rmtree(snapshot)
        stage.done()
    record_points(f"recovery of {name}", crashes)
    assert crashes > 100
