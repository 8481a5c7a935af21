"""Crash at every point of an upgrade whose jail also dies slowly, or has to be stopped by force."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.transactions.plan import Purpose
from ledger.lifecycle import State
from ledger.reader import LedgerReader
from tests.fakes.jail_model import linger
from tests.fakes.site import CONF, STATE, FreeBsdSite
from tests.recovery.test_freebsd_bad_worlds import NEW, OLD, ROOT, runs_on
from tests.recovery.test_freebsd_crash_points import Reel

JAIL_CONF = CONF.replace("{state}", STATE).replace("{{ }}", "{ }")
#: exec.stop never ends, so jail -R follows, which leaves what jail.conf mounts.
FORCED = JAIL_CONF.replace("/bin/sh -c 'echo stopping'", "sleep 100000").replace(
    "web { }", f'web {{ mount = "tmpfs {ROOT}/tmp tmpfs rw,mode=1777 0 0"; }}'
)


def host(site: FreeBsdSite) -> dict[str, str]:
    """The host without the jails that are dying: they go by themselves."""
    return {key: told for key, told in site.host().items() if "(dying" not in key}


@pytest.mark.parametrize("world", ["lingering", "forced"])
@pytest.mark.parametrize("rebooted", [False, True], ids=["same boot", "after a reboot"])
def test_recovery_from_a_crash_at_every_point_reaches_one_of_the_two_ends(
    world: str, rebooted: bool, fast_directory: Path, record_points: Callable[[str, int], None]
) -> None:
    site = FreeBsdSite(fast_directory / "base")
    site.settle()
    if world == "lingering":
        linger(site.ground.fake, "web")
    else:
        site.run(lambda session: session.requests.stop("web")).raise_unless_committed()
        site.ground.fake.write("/etc/jail.conf", FORCED.encode())
        site.run(lambda session: session.requests.start("web")).raise_unless_committed()
    with site.session() as session:
        plan = session.requests.upgrade("web", None)
    assert plan is not None
    before = host(site)
    reel = Reel(site, fast_directory)
    with site.session(reel.shoot) as session:
        assert session.engine.execute(plan, Purpose(reason="test")).state is State.COMMITTED
    needed = ("umount", "-f", ROOT) if world == "lingering" else ("jail", "-f", "/etc/jail.conf", "-R", "web")
    assert needed in site.ground.host.ran
    after = host(site)
    ends = set()
    for point, photograph, ledger in reel.photographs:
        site.ground.fake.restore(photograph)
        site.directory, site.boot = ledger, "boot-1"
        if rebooted:
            site.reboot()
        with site.session() as session:
            session.recoverer.recover()
            assert session.ledger.open_transactions() == {}, point
        with LedgerReader.open(ledger) as reader:
            found = [row.state for row in reader.transactions() if row.transaction == plan.transaction]
        is_committed = found == [State.COMMITTED]
        ends.add(is_committed)
        assert host(site) == (after if is_committed else before), point
        assert runs_on(site, NEW if is_committed else OLD), point
        shutil.rmtree(ledger)
    record_points(f"zfs and jails: upgrade, {world}{' + reboot' if rebooted else ''}", reel.points)
    assert reel.points >= 100
    assert ends == {True, False}
