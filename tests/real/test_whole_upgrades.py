"""Whole transactions on real Btrfs under each runtime, in the circumstances that a server meets."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.bootstrap import Session
from commands.config import NetworkConfig
from commands.drivers.base import JailState
from commands.drivers.cgroups import cgroup_mount
from commands.drivers.host import LocalHost
from commands.drivers.jail_layout import cgroup_of
from commands.errors import DriverError
from commands.transactions.plan import Plan, Purpose
from ledger.events import StepStarted
from ledger.lifecycle import State
from ledger.reader import LedgerReader
from tests.benchmarks.fsyncs import synced_commits
from tests.contracts.jail_fixtures import RUNTIMES
from tests.real.site import RealSite, unmount_beneath

pytestmark = pytest.mark.real


def to_two(session: Session) -> Plan | None:
    return session.requests.upgrade("web", None)


def back(session: Session) -> Plan | None:
    return session.requests.rollback("web")


def test_an_upgrade_serves_the_new_release_and_a_rollback_the_old_one(site: RealSite) -> None:
    before = site.look()
    assert site.execute(to_two) == 0
    assert site.page() == "two"
    assert site.execute(back) == 0
    assert site.look() == before


def test_an_upgrade_makes_one_durable_commit_more_than_it_has_steps(site: RealSite) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    config = site.write_config()
    for verb in ("upgrade", "rollback"):
        commits = synced_commits(config, site.directory / "trace", verb, "web")
        with LedgerReader.open(Path(site.config.ledger_directory)) as reader:
            row = reader.transactions(limit=1)[0]
            events = [record.event for record in reader.records(transaction=row.transaction)]
            steps = {event.step for event in events if isinstance(event, StepStarted)}
        assert State(row.state) is State.COMMITTED
        assert commits == len(steps) + 1


def test_a_broken_release_is_rolled_back_and_the_old_one_serves(site: RealSite) -> None:
    broken = str(site.directory / "to-broken")
    assert site.execute(lambda session: session.requests.upgrade_template("tiny", broken)) == 0
    before = site.look()
    assert site.execute(to_two) == 1
    assert site.look() == before
    assert site.execute(repaired(site)) == 0


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        ({"volumes": {"log": "/srv/none", "home": "/home"}}, "/srv/none"),
        ({"command": ("/srv/none",)}, "its command /srv/none is not there"),
        ({"network": NetworkConfig(kind="veth", link="rswap-none")}, "there is no bridge rswap-none"),
    ],
)
def test_a_configuration_that_does_not_fit_the_root_stops_nothing(
    site: RealSite, change: dict[str, object], lacking: str
) -> None:
    """The release stays, so that nothing is staged: the root is looked at where it is mounted."""
    before, config = site.look(), site.config
    web = config.jail["web"].model_copy(update=change)
    site.config = config.model_copy(update={"jail": {**config.jail, "web": web}})

    def refused(session: Session) -> None:
        with pytest.raises(DriverError, match=lacking):
            session.requests.upgrade("web", str(before["release"]))

    try:
        assert site.fork(refused) == 0
    finally:
        site.config = config
    assert site.look() == before


def repaired(site: RealSite) -> Callable[[Session], Plan | None]:
    script = site.script("to-repaired", "echo two > /srv/www/index.html")
    return lambda session: session.requests.upgrade_template("tiny", script)


def test_a_failed_template_build_leaves_the_template_as_it_was(site: RealSite) -> None:
    script = site.script("to-fail", "echo half > /srv/www/index.html; exit 3")
    before = site.look()
    assert site.execute(lambda session: session.requests.upgrade_template("tiny", script)) == 1
    assert site.look() == before


def test_two_jails_are_upgraded_by_one_engine_at_the_same_time(site: RealSite) -> None:
    def work(session: Session) -> None:
        plans = [session.requests.upgrade(jail, None) for jail in ("web", "mail")]
        ends: list[State] = []

        def run(plan: Plan) -> None:
            ends.append(session.engine.execute(plan, Purpose()).state)

        threads = [threading.Thread(target=run, args=(plan,)) for plan in plans if plan]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ends == [State.COMMITTED] * 2

    assert site.fork(work) == 0
    assert site.page("web") == site.page("mail") == "two"
    for jail in ("web", "mail"):
        assert site.execute(lambda session, jail=jail: session.requests.rollback(jail)) == 0  # type: ignore[misc]


def test_a_stopped_and_continued_engine_goes_on(site: RealSite) -> None:
    def gate(point: str) -> None:
        if point.startswith("before mount --move"):
            pid = os.getpid()
            if os.fork() == 0:
                time.sleep(0.3)
                os.kill(pid, signal.SIGCONT)
                os._exit(0)
            os.kill(pid, signal.SIGSTOP)

    assert site.execute(to_two, gate) == 0
    assert site.page() == "two"
    assert site.execute(back) == 0


def test_a_jail_that_somebody_starts_in_the_middle_gets_the_upgrade_stuck_and_can_be_taken_back(site: RealSite) -> None:
    before = site.look()
    seen: list[str] = []

    def meddle(point: str) -> None:
        if point.startswith("before snapshot of") and not seen:
            seen.append(point)
            site.start_by_hand()

    assert site.execute(to_two, meddle) == 1
    with LedgerReader.open(Path(site.config.ledger_directory)) as reader:
        (stuck,) = reader.transactions(open_only=True)
    assert stuck.state == "stuck"
    site.stop_by_hand()

    def resolve(session: Session) -> None:
        session.recoverer.resolve(stuck.transaction, "unwind", "alice", "stopped what somebody had started")

    assert site.fork(resolve) == 0
    assert site.look() == before


def test_after_a_reboot_recovery_mounts_the_pool_and_the_roots_and_starts_the_jails(site: RealSite) -> None:
    before = site.look()
    power_off(site)
    with pytest.raises(OSError, match="refused"):
        site.page()
    assert site.recover() == 0
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            site.page()
            break
        except OSError:
            time.sleep(0.01)
    assert site.look() == before
    assert site.recover() == 0
    assert site.look() == before


def test_a_power_cut_in_the_middle_of_a_switch_brings_the_old_release_back(site: RealSite) -> None:
    before = site.look()

    def cut(point: str) -> None:
        if point.startswith("after unmounting"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert site.execute(to_two, cut) == -signal.SIGKILL
    power_off(site)
    assert site.recover() == 0
    assert site.page() == "one"
    assert site.look() == before


def power_off(site: RealSite) -> None:
    """What a power cut does to a host but for the disks: no process, no mount, another boot id."""
    for jail in site.ports:  # those of this site alone: others run the same tests at the same moment
        group = cgroup_of(f"{site.config.state_directory}/{site.driver}/{jail}")
        kill = Path(str(cgroup_mount(LocalHost())), group, "cgroup.kill")
        if kill.exists():
            kill.write_text("1")
    time.sleep(0.1)
    unmount_beneath(str(site.directory))
    site.boot = f"boot after {site.boot}"


def test_a_jail_moves_to_another_runtime_with_an_upgrade_and_back_with_a_rollback(site: RealSite) -> None:
    before = site.look()
    runtimes = list(RUNTIMES)
    other = runtimes[(runtimes.index(site.driver) + 1) % len(runtimes)]
    if shutil.which(RUNTIMES[other][1]) is None:
        pytest.skip(f"needs {RUNTIMES[other][1]}")
    kept = site.config
    jails = {name: jail.model_copy(update={"driver": other}) for name, jail in kept.jail.items()}
    site.config = kept.model_copy(update={"jail": jails})
    try:
        assert site.execute(to_two) == 0
        assert site.page() == "two"
        assert site.spec().driver == other
        assert site.runtime().state(site.spec()) is JailState.STOPPED, "as far as the former runtime knows"
        assert site.execute(back) == 0
    finally:
        site.config = kept
    assert site.spec().driver == site.driver
    assert site.look() == before
