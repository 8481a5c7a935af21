"""Whole upgrades of a FreeBSD jail on ZFS in worlds that do not behave: each ends before or after, or asks a person."""

from collections.abc import Callable
from pathlib import Path

import pytest

from commands.bootstrap import Session
from commands.drivers.base import JailState
from commands.errors import DriverError, Refused
from commands.transactions.plan import Plan, Purpose
from commands.transactions.run import Outcome
from ledger.lifecycle import State
from tests.fakes.host import Hang
from tests.fakes.jail_model import alive, drain, linger
from tests.fakes.shell import run_line
from tests.fakes.site import CONF, CONFIG, STATE, FreeBsdSite
from tests.site import Crash, Script

JAIL_CONF = CONF.replace("{state}", STATE).replace("{{ }}", "{ }")
ROOT = "/var/db/rootswap/jails/web/root"
OLD, NEW = "debian@00000001", "debian@00000003"


@pytest.fixture
def site(fast_directory: Path) -> FreeBsdSite:
    """A jail that runs on the first of two releases."""
    site = FreeBsdSite(fast_directory)
    site.settle()
    return site


def upgrade(site: FreeBsdSite, gate: Callable[[str], None] | None = None) -> Outcome:
    return site.run(lambda session: session.requests.upgrade("web", None), gate)


def sh(site: FreeBsdSite, line: str) -> str:
    completed = run_line(site.ground.fake, line)
    return completed.stdout + completed.stderr


def configure(site: FreeBsdSite, old: str, new: str) -> None:
    """The administrator changes jail.conf."""
    assert old in JAIL_CONF
    site.ground.fake.write("/etc/jail.conf", JAIL_CONF.replace(old, new).encode())


class Meddler:
    """A gate at which somebody acts once, at the first point that begins with ``point``."""

    def __init__(self, point: str, act: Callable[[], object]) -> None:
        self.point, self.act, self.has_acted = point, act, False

    def __call__(self, here: str) -> None:
        if not self.has_acted and here.startswith(self.point):
            self.has_acted = True
            self.act()


def runs_on(site: FreeBsdSite, release: str) -> bool:
    """Whether web runs on a release, with its volumes."""
    drivers = site.ground.drivers()
    with site.session() as session:
        settled = session.requests._deployed("web")
    return drivers.jails["jail"].runs_on(settled.deployment.jail, drivers.storage.root_source(release))


def test_an_upgrade_is_committed_and_rolled_back_to_the_former_release(site: FreeBsdSite) -> None:
    assert upgrade(site).state is State.COMMITTED
    assert runs_on(site, NEW)
    site.run(lambda session: session.requests.rollback("web")).raise_unless_committed()
    assert runs_on(site, OLD)


def test_a_failing_exec_stop_takes_the_upgrade_back_and_the_jail_was_never_down(site: FreeBsdSite) -> None:
    before, jid = site.host(), sh(site, "jls -j web -n jid")
    configure(site, "/bin/sh -c 'echo stopping'", "/usr/bin/false")
    outcome = upgrade(site)
    assert outcome.state is State.ROLLED_BACK
    assert "cannot stop jail web: /usr/bin/false: failed" in str(outcome.cause)
    assert (site.host(), sh(site, "jls -j web -n jid")) == (before, jid)


def test_an_exec_stop_that_never_ends_is_ended_by_force_and_the_upgrade_goes_on(site: FreeBsdSite) -> None:
    configure(site, "/bin/sh -c 'echo stopping'", "sleep 100000")
    assert upgrade(site).state is State.COMMITTED
    assert ("jail", "-f", "/etc/jail.conf", "-R", "web") in site.ground.host.ran
    assert runs_on(site, NEW)


def test_a_process_that_ignores_sigterm_delays_the_upgrade_and_no_more(site: FreeBsdSite) -> None:
    site.run(lambda session: session.requests.stop("web")).raise_unless_committed()
    configure(site, "'nc -lk 127.0.0.1 8080 > /dev/null 2>&1 &'", "'trap : TERM; nc -lk 127.0.0.1 8080 &'")
    site.run(lambda session: session.requests.start("web")).raise_unless_committed()
    before = site.ground.fake.state.now
    assert upgrade(site).state is State.COMMITTED
    assert runs_on(site, NEW)
    assert site.ground.fake.state.now - before >= 3


def test_a_start_that_fails_on_the_new_root_brings_the_old_one_back(site: FreeBsdSite) -> None:
    before = site.host()

    def fail_once(argv: tuple[str, ...]) -> None:
        if argv[-2:] == ("-c", "web"):
            configure(site, "/bin/sh -c 'nc -lk 127.0.0.1 8080 > /dev/null 2>&1 &'", "/usr/bin/false")
            site.ground.host.hooks.remove(fail_once)
            site.ground.host.late.append(mend)

    def mend(argv: tuple[str, ...]) -> None:
        if argv[-2:] == ("-c", "web"):
            site.ground.fake.write("/etc/jail.conf", JAIL_CONF.encode())

    site.ground.host.hooks.append(fail_once)
    outcome = upgrade(site)
    assert outcome.state is State.ROLLED_BACK
    assert "cannot start jail web: /usr/bin/false: failed" in str(outcome.cause)
    assert site.host() == before
    assert runs_on(site, OLD)


@pytest.mark.parametrize("silent", ["-r", "-c"])
def test_a_jail_command_whose_answer_is_lost_leaves_one_of_the_two_ends(site: FreeBsdSite, silent: str) -> None:
    before = site.host()

    def lose(argv: tuple[str, ...]) -> None:
        if argv[-2:] == (silent, "web"):
            site.ground.host.late.remove(lose)
            raise Hang

    site.ground.host.late.append(lose)
    outcome = upgrade(site)
    assert outcome.state is (State.COMMITTED if silent == "-r" else State.ROLLED_BACK)
    assert runs_on(site, NEW if silent == "-r" else OLD)
    assert silent == "-r" or site.host() == before


# --- dying ------------------------------------------------------------------------------------------------------------


def test_a_jail_whose_sockets_linger_holds_up_neither_the_upgrade_nor_the_way_back(site: FreeBsdSite) -> None:
    linger(site.ground.fake, "web")
    assert upgrade(site).state is State.COMMITTED
    assert "name=web dying" in sh(site, "jls -d -n name dying")
    assert ("umount", "-f", ROOT) in site.ground.host.ran
    assert runs_on(site, NEW)
    site.run(lambda session: session.requests.rollback("web")).raise_unless_committed()
    assert runs_on(site, OLD)
    drain(site.ground.fake)
    assert runs_on(site, OLD)


# --- other people -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("point", "end", "release"),
    [
        # On the old root, which is then in use and cannot be taken away: back, and the jail is started whole again.
        ("before running zfs snapshot", State.ROLLED_BACK, OLD),
        # On the new root, but without the volumes: the start of the upgrade starts it anew, with them.
        ("before running mount -t nullfs /var/db/pool/volumes", State.COMMITTED, NEW),
    ],
)
def test_a_jail_started_by_hand_in_the_middle_is_found_and_ends_up_with_its_volumes(
    site: FreeBsdSite, point: str, end: State, release: str
) -> None:
    before = site.host()

    def start() -> None:
        assert sh(site, "jail -c web") == "web: created\n"

    somebody = Meddler(point, start)
    outcome = upgrade(site, somebody)
    assert somebody.has_acted
    assert outcome.state is end, outcome.cause
    assert runs_on(site, release)
    assert end is State.COMMITTED or site.host() == before


def test_another_jail_of_that_name_in_the_middle_is_left_alone_and_a_person_is_asked(site: FreeBsdSite) -> None:
    sh(site, "mkdir -p /rs/elsewhere")
    somebody = Meddler("before running mount -t nullfs /var/db/pool/volumes", lambda: sh(site, _ELSEWHERE))
    outcome = upgrade(site, somebody)
    assert outcome.state is State.STUCK
    assert "neither the former nor the planned state" in str(outcome.cause)
    foreign = alive(site.ground.fake, "web")
    assert foreign is not None
    assert foreign.path == "/rs/elsewhere"
    with site.session() as session, pytest.raises(Exception, match="is stuck"):
        session.requests.upgrade("web", None)
    sh(site, "jail -r web")
    with site.session() as session:
        session.recoverer.resolve(outcome.transaction, "unwind", "alice", "removed somebody else's jail")
    assert runs_on(site, OLD)


_ELSEWHERE = "jail -c name=web path=/rs/elsewhere persist"


def test_a_root_that_was_unmounted_by_force_in_the_middle_leaves_no_orphans(site: FreeBsdSite) -> None:
    before = site.host()
    with pytest.raises(Crash), site.session(Script(1, only="after running /bin/sh")) as session:
        plan = _plan(session)
        session.engine.execute(plan, Purpose(reason="test"))
    sh(site, f"umount -f {ROOT}")
    assert sh(site, f"mount -p | grep {ROOT}/home") != ""
    with site.session() as session:
        session.recoverer.recover()
    after = site.host()
    assert runs_on(site, NEW) or after == before
    orphans = [mount for mount in site.ground.fake.state.mounts if mount.path.startswith(f"{ROOT}/")]
    assert all(site.ground.fake.under(mount.path) is mount for mount in orphans)
    assert len({mount.path for mount in orphans}) == len(orphans)


def _plan(session: Session) -> Plan:
    plan = session.requests.upgrade("web", None)
    assert plan is not None
    return plan


def test_a_jail_that_was_stopped_or_started_by_hand_before_is_refused_and_recovery_makes_it_whole(
    site: FreeBsdSite,
) -> None:
    sh(site, "jail -r web")
    with site.session() as session, pytest.raises(Refused, match="cannot change web: it is half stopped") as caught:
        session.requests.upgrade("web", None)
    assert caught.value.remedy == "run `rootswap recover`, or stop it with `rootswap jail stop web`"
    with site.session() as session:
        session.recoverer.recover()
    assert runs_on(site, OLD)
    site.run(lambda session: session.requests.stop("web")).raise_unless_committed()
    sh(site, "jail -c web")
    with site.session() as session, pytest.raises(Refused, match="cannot change web: it is half started"):
        session.requests.upgrade("web", None)
    site.run(lambda session: session.requests.stop("web")).raise_unless_committed()
    with site.session() as session:
        assert session.requests.stop("web") is None
    assert upgrade(site).state is State.COMMITTED


def test_a_volume_that_is_added_to_the_configuration_is_no_sign_of_anybodys_hand(site: FreeBsdSite) -> None:
    jail = site.config.jail["web"]
    more = jail.model_copy(update={"volumes": {**jail.volumes, "run": "/run"}})
    site.config = site.config.model_copy(update={"jail": {**site.config.jail, "web": more}})
    assert upgrade(site).state is State.COMMITTED
    assert f"{ROOT}/run" in sh(site, "mount -p")


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("web { }", "", r"/etc/jail.conf does not define it .defined: mail."),
        ("web { }", "web { path = /usr/jails/web; }", r"/etc/jail.conf has its path at /usr/jails/web"),
        ("mail { }", "mail { depend = web; }", r"mail depends on it, would be stopped with it"),
        ("mail { }", "mail {", r"cannot read /etc/jail.conf"),
    ],
)
def test_a_configuration_that_would_do_something_else_is_refused_before_anything_is_touched(
    site: FreeBsdSite, old: str, new: str, cause: str
) -> None:
    before = site.host()
    configure(site, old, new)
    with site.session() as session, pytest.raises(DriverError, match=cause):
        session.requests.upgrade("web", None)
    assert site.host() == before


def test_the_state_of_a_jail_is_not_taken_from_service(site: FreeBsdSite) -> None:
    assert sh(site, "service jail onestop web; echo $?") == "Stopping jails: web.\n0\n"
    jails = site.ground.drivers().jails["jail"]
    with site.session() as session:
        jail = session.requests._deployed("web").deployment.jail
    assert jails.state(jail) is JailState.STOPPING  # its volumes are still mounted
    with site.session() as session:
        session.recoverer.recover()
    assert runs_on(site, OLD)
    assert CONFIG.jail["web"].driver == "jail"
