"""Whole transactions on plain directories and LXC: the file system of the machine is all that they need."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from commands.bootstrap import Session
from commands.drivers.jail_layout import cgroup_of
from commands.transactions.plan import Plan
from tests.real.site import BUSYBOX, Killer, RealSite, unmount_beneath

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def site() -> Iterator[RealSite]:
    """The jail ``web`` on the first of two releases."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("lxc-start", BUSYBOX))):
        pytest.skip("needs root, LXC and a static busybox")
    site = RealSite(Path(tempfile.mkdtemp(prefix="rootswap-real-", dir="/var/tmp")), storage="directory")
    try:
        site.settle()
        yield site
    finally:
        site.close()


def to_two(session: Session) -> Plan | None:
    return session.requests.upgrade("web", None)


def back(session: Session) -> Plan | None:
    return session.requests.rollback("web")


def test_an_upgrade_serves_the_new_release_and_a_rollback_the_old_one(site: RealSite) -> None:
    before = site.look()
    log = site.directory / "pool/rootswap/volumes/web/log/root/app.log"
    log.write_text("data of the moment")
    assert site.execute(to_two) == 0
    assert site.page() == "two"
    (kept,) = (site.directory / "pool/rootswap/snapshots/web").glob("*/log/root/app.log")
    assert kept.read_text() == "data of the moment"
    assert site.execute(back) == 0
    assert site.look() == before


def test_a_broken_release_is_rolled_back_and_the_old_one_serves(site: RealSite) -> None:
    broken = str(site.directory / "to-broken")
    assert site.execute(lambda session: session.requests.upgrade_template("tiny", broken)) == 0
    before = site.look()
    assert site.execute(to_two) == 1
    assert site.look() == before
    repaired = str(site.directory / "to-two")
    assert site.execute(lambda session: session.requests.upgrade_template("tiny", repaired)) == 0


@pytest.mark.parametrize("change", ["etc/motd", "bin/new"])
def test_a_release_that_was_changed_behind_our_back_is_refused_and_the_jail_serves_on(
    site: RealSite, change: str
) -> None:
    (release,) = {step.release for step in plan_of(site).steps if step.kind == "stage_root"}
    root = site.directory / "pool/rootswap/releases" / release / "root"
    (root / change).write_text("x")
    before = site.look()
    assert site.execute(to_two) != 0
    assert site.look() == before
    again = str(site.directory / "to-two")
    assert site.execute(lambda session: session.requests.upgrade_template("tiny", again)) == 0


def plan_of(site: RealSite) -> Plan:
    """The plan of the upgrade, made in a process of its own and handed over in a file."""
    file = site.directory / "plan"

    def work(session: Session) -> None:
        plan = to_two(session)
        assert plan is not None
        file.write_text(plan.model_dump_json())

    assert site.fork(work) == 0
    return Plan.model_validate_json(file.read_text())


@pytest.mark.parametrize("point", ["before cp", "during cp", "after cp", "before syncing", "before mount --move"])
def test_killed_in_the_middle_of_a_switch_the_jail_ends_on_one_of_the_two_releases(site: RealSite, point: str) -> None:
    """The copy of the data is what this storage has and others have not; the rest is swept on Btrfs."""
    if site.page() != "one":
        assert site.execute(back) == 0
    before = site.look()
    kill = Killer(1)
    assert site.execute(to_two, lambda at: kill(at) if at.startswith(point) else None) in (-signal.SIGKILL, 0)
    assert site.recover() == 0
    found = site.look()
    assert found["page"] in ("one", "two")
    assert found["open"] == [] == found["leftovers"]
    assert found["page"] == "two" or found == before
    assert site.recover() == 0
    assert site.look() == found


def test_after_a_reboot_recovery_mounts_the_roots_and_starts_the_jail(site: RealSite) -> None:
    before = site.look()
    group = cgroup_of(f"{site.config.state_directory}/lxc/web")
    for path in (Path(top, group, "cgroup.kill") for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")):
        if path.exists():
            path.write_text("1")
    time.sleep(0.1)
    unmount_beneath(str(site.directory))
    site.boot = f"boot after {site.boot}"
    with pytest.raises(OSError, match="refused"):
        site.page()
    assert site.recover() == 0
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with suppress(OSError):
            site.page()
            break
        time.sleep(0.01)
    assert site.look() == before
