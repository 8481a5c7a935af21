"""Crash at every point of every transaction on ZFS with FreeBSD jails; the real drivers, the tools in memory.

Each transaction is played once. At every point (before each look at the host, before and after each change, between
the halves of a command, before and after each append) host and ledger are photographed, as a kill would leave them.
Recovery then begins from each photograph that is not like one before.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.transactions.plan import Plan, Purpose
from ledger.lifecycle import State
from ledger.reader import LedgerReader
from tests.fakes.site import FreeBsdSite
from tests.recovery.test_crash_points import SCENARIOS

#: How many crash points each scenario has. A number that drops without a reason is a call that is no longer gated.
POINTS = {
    "init": 34,
    "build": 35,
    "upgrade-template": 49,
    "deploy": 111,
    "upgrade": 100,
    "upgrade to a broken release": 193,
    "rollback": 100,
    "stop": 22,
    "start": 38,
    "destroy-release": 25,
}


class Reel:
    """Photographs of a site, taken at every point unless all is as at the point before."""

    def __init__(self, site: FreeBsdSite, directory: Path) -> None:
        self.site = site
        self.directory = directory
        self.points = 0
        self.photographs: list[tuple[str, bytes, Path]] = []
        self._last: tuple[bytes, object] | None = None

    def shoot(self, point: str) -> None:
        """Photograph host and ledger."""
        self.points += 1
        now = self.site.ground.fake.save(), ledger_now(self.site.directory)
        if now != self._last:
            self._last = now
            place = self.directory / f"photograph-{len(self.photographs)}"
            self.photographs.append((point, self.site.photograph(place), place))


class Album:
    """A scenario at its beginning, and photographs of it at every point."""

    def __init__(self, name: str, directory: Path) -> None:
        beginning, request = SCENARIOS[name]
        self.directory = directory
        self.base = directory / "base"
        self.site = prepare(self.base, beginning)
        with self.site.session() as session:
            plan = request(session)
            assert plan is not None
            self.plan: Plan = plan
            self.settled = session.ledger.settled_targets()
        self.begun = self.site.photograph(directory / "begun")
        self.before = self.site.host()
        reel = Reel(self.site, directory)
        with self.site.session(reel.shoot) as session:
            session.engine.execute(self.plan, Purpose(reason="test"))
        self.points, self.photographs = reel.points, reel.photographs
        self.after = self.site.host()

    def develop(self, world: bytes, ledger: Path) -> None:
        """Put the host and the ledger back to a photograph."""
        self.site.ground.fake.restore(world)
        self.site.directory = ledger
        self.site.boot = "boot-1"

    def recover(self, gate: Callable[[str], None] | None = None) -> None:
        with self.site.session(gate) as session:
            session.recoverer.recover()

    def last_seq(self) -> int:
        with LedgerReader.open(self.site.directory) as reader:
            return reader.last_seq()

    def check(self, point: str) -> State | None:
        """The invariants after a recovery. Returns how the transaction ended, or None if it never began."""
        with self.site.session() as session:
            assert session.ledger.open_transactions() == {}, point
            settled = session.ledger.settled_targets()
        with LedgerReader.open(self.site.directory) as reader:
            reader.verify()
            found = [row for row in reader.transactions() if row.transaction == self.plan.transaction]
        state = State(found[0].state) if found else None
        if state is State.COMMITTED:
            assert self.site.host() == self.after, point
        else:
            assert self.site.host() == self.before, point
            assert settled == self.settled, point
        return state


def ledger_now(directory: Path) -> list[tuple[str, int, int]]:
    """What tells one state of a ledger's files from another."""
    seen = [(path.name, path.stat()) for path in sorted(directory.iterdir())]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in seen]


def prepare(directory: Path, beginning: str) -> FreeBsdSite:
    """The site at the beginning of a scenario."""
    site = FreeBsdSite(directory)
    if beginning == "nothing":
        with site.session():
            return site
    if beginning == "pool":
        site.run(lambda session: session.requests.init()).raise_unless_committed()
        return site
    site.settle()
    if beginning == "broken":
        site.ground.unhealthy.add("debian@00000003")
    if beginning.startswith("upgraded"):
        site.run(lambda session: session.requests.upgrade("web", None)).raise_unless_committed()
    if beginning == "upgraded twice":
        site.run(lambda session: session.requests.upgrade_template("debian", None)).raise_unless_committed()
        site.run(lambda session: session.requests.upgrade("web", None)).raise_unless_committed()
    if beginning == "stopped":
        site.run(lambda session: session.requests.stop("web")).raise_unless_committed()
    return site


@pytest.mark.parametrize("rebooted", [False, True], ids=["same boot", "after a reboot"])
@pytest.mark.parametrize("name", POINTS)
def test_recovery_from_a_crash_at_every_point_reaches_one_of_the_two_ends(
    name: str, rebooted: bool, fast_directory: Path, record_points: Callable[[str, int], None]
) -> None:
    album = Album(name, fast_directory)
    ends: set[State | None] = set()
    for point, world, ledger in album.photographs:
        album.develop(world, ledger)
        if rebooted:
            album.site.reboot()
        album.recover()
        ends.add(album.check(f"{name}: {point}"))
        first = album.site.ground.fake.picture(), album.last_seq()
        album.recover()
        assert (album.site.ground.fake.picture(), album.last_seq()) == first, "a second recovery changed something"
        shutil.rmtree(ledger)
    record_points(f"zfs and jails: {name}{' + reboot' if rebooted else ''}", album.points)
    assert album.points == POINTS[name], "the number of crash points has changed"
    assert State.COMMITTED in ends or name == "upgrade to a broken release"
    assert ends & {State.ROLLED_BACK, State.REJECTED, None}


@pytest.mark.sweep
@pytest.mark.parametrize("name", ["upgrade", "deploy"])
def test_recovery_may_itself_crash_at_every_point(
    name: str, fast_directory: Path, record_points: Callable[[str, int], None]
) -> None:
    album = Album(name, fast_directory)
    points = 0
    for point, world, ledger in album.photographs:
        album.develop(world, ledger)
        second = Reel(album.site, fast_directory / "second")
        album.recover(second.shoot)
        points += second.points
        for within, crashed, book in second.photographs:
            album.develop(crashed, book)
            album.recover()
            album.check(f"{name}: {point}, then in recovery {within}")
        shutil.rmtree(fast_directory / "second")
    record_points(f"zfs and jails: recovery of {name}", points)
    assert points > 100
