"""Bad worlds on ZFS: each ends with one clear sentence, nothing foreign touched and nothing half done."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commands.bootstrap import Session
from commands.drivers.base import Presence, Source
from commands.errors import DriverError, Foreign, Refused
from commands.transactions.plan import Plan, Purpose
from commands.transactions.run import Outcome
from ledger.errors import RootswapError
from ledger.lifecycle import State
from tests.fakes.host import Hang
from tests.fakes.jail_model import alive
from tests.fakes.shell import run_line
from tests.fakes.site import HOME, POOL, STATE, FreeBsdSite
from tests.fakes.tree import Blob, Node
from tests.fakes.zfs_space import available
from tests.site import Crash, Script

FIRST, SECOND = "debian@00000001", "debian@00000003"
ROOT = f"{STATE}/jails/web/root"
CLONE = f"{HOME}/releases/debian:00000003"

Request = Callable[[Session], Plan | None]
UPGRADE: Request = lambda session: session.requests.upgrade("web", None)  # noqa: E731
CHANGES: dict[str, Request] = {
    "upgrade": UPGRADE,
    "stop": lambda session: session.requests.stop("web"),
    "build": lambda session: session.requests.upgrade_template("debian", None),
    "destroy-release": lambda session: session.requests.destroy_release(FIRST),
}


@pytest.fixture
def site(fast_directory: Path) -> Iterator[FreeBsdSite]:
    """A pool, a template with two releases, and the jail web, which runs on the first."""
    yield FreeBsdSite(fast_directory / "ledger").settle()  # type: ignore[misc]


def sh(site: FreeBsdSite, line: str) -> str:
    """What somebody types; it has to succeed."""
    completed = run_line(site.ground.fake, line)
    assert completed.status == 0, completed.stderr
    return completed.stdout


def refused(site: FreeBsdSite, request: Request) -> RootswapError:
    """The error of a request that has to be refused, and that leaves host and ledger as they were."""
    before = site.ground.fake.picture()
    with site.session() as session, pytest.raises(RootswapError) as caught:
        request(session)
    assert site.ground.fake.picture() == before
    with site.session() as session:
        assert session.ledger.open_transactions() == {}
    return caught.value


def is_serving(site: FreeBsdSite, release: str) -> bool:
    """Whether web lives, on this release."""
    drivers = site.ground.drivers()
    held = drivers.mounts.holds(ROOT, drivers.storage.root_source(release))
    return held and alive(site.ground.fake, "web") is not None


def play(site: FreeBsdSite, request: Request) -> Outcome:
    """A request that is planned in a good world and carried out in whatever the hooks make of it."""
    with site.session() as session:
        plan = request(session)
        assert plan is not None
        return session.engine.execute(plan, Purpose(reason="test"))


# --- the pool ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHANGES)
def test_a_missing_pool_is_told_before_anything_begins(site: FreeBsdSite, name: str) -> None:
    sh(site, "jail -r web")
    for mount in [mount for mount in site.ground.fake.state.mounts if mount.kind == "nullfs"][::-1]:
        site.ground.fake.unmount(mount, force=True)
    sh(site, "zpool export tank")
    error = refused(site, CHANGES[name])
    assert error.message == "cannot use the pool tank: it is not imported"
    assert error.remedy == "import it with `zpool import tank`"


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize(
    ("key", "value", "cause"),
    [
        ("health", "SUSPENDED", "its input and output are suspended"),
        ("health", "FAULTED", "it is faulted"),
        ("read_only", True, "it is imported read-only"),
    ],
)
def test_a_pool_that_cannot_be_written_is_told_before_anything_begins(
    site: FreeBsdSite, name: str, key: str, value: object, cause: str
) -> None:
    setattr(site.ground.fake.state.pools["tank"], key, value)
    error = refused(site, CHANGES[name])
    assert error.message == f"cannot use the pool tank: {cause}"
    assert "zpool" in error.remedy
    assert is_serving(site, FIRST)


def test_recovery_leaves_an_open_transaction_alone_while_the_pool_is_missing(site: FreeBsdSite) -> None:
    with site.session() as session:
        plan = UPGRADE(session)
    assert plan is not None
    with pytest.raises(Crash), site.session(Script(60)) as session:
        session.engine.execute(plan, Purpose(reason="test"))
    site.reboot()
    sh(site, "zpool export tank")
    with site.session() as session:
        with pytest.raises(DriverError, match="it is not imported"):
            session.recoverer.recover()
        assert [status.state for status in session.ledger.open_transactions().values()] != [State.STUCK]
        assert list(session.ledger.open_transactions()) == [plan.transaction]
    sh(site, "zpool import tank")
    with site.session() as session:
        session.recoverer.recover()
        assert session.ledger.open_transactions() == {}
    assert is_serving(site, FIRST)


def test_a_pool_that_is_suspended_in_the_switch_leaves_a_transaction_that_recovery_settles(site: FreeBsdSite) -> None:
    pool = site.ground.fake.state.pools["tank"]

    def suspend(argv: tuple[str, ...]) -> None:
        if argv[:2] == ("zfs", "snapshot"):
            pool.health = "SUSPENDED"

    site.ground.host.hooks.append(suspend)
    outcome = play(site, UPGRADE)
    assert outcome.state is State.ROLLED_BACK
    assert is_serving(site, FIRST)
    assert "pool I/O is currently suspended" in str(outcome)


# --- somebody else's --------------------------------------------------------------------------------------------------


def test_a_release_that_somebody_else_holds_is_not_destroyed_and_says_so(site: FreeBsdSite) -> None:
    site.run(UPGRADE).raise_unless_committed()
    site.run(lambda session: session.requests.upgrade_template("debian", None)).raise_unless_committed()
    site.run(UPGRADE).raise_unless_committed()
    storage = site.ground.drivers().storage
    snapshot = sh(site, f"zfs list -Hp -o name -t snapshot -r {HOME}/templates").split()[0]
    sh(site, f"zfs hold backup {snapshot}")
    before = site.ground.fake.picture()
    with pytest.raises(Foreign) as caught:
        storage.destroy_release(FIRST)
    assert caught.value.message == f"cannot destroy {snapshot}: somebody else holds it as 'backup'"
    assert caught.value.remedy == f"whoever holds it lets it go with `zfs release backup {snapshot}`"
    assert site.ground.fake.picture() == before
    # Retired and committed; the rest waits for whoever holds it, and the next recovery finishes it.
    outcome = site.run(CHANGES["destroy-release"])
    assert outcome.state is State.COMMITTED and "somebody else holds it" in str(outcome.warning)
    assert storage.releases() == (SECOND, "debian@00000005")
    sh(site, f"zfs release backup {snapshot}")
    with site.session() as session:
        assert session.recoverer.recover().warnings == ()
    assert storage.trash() == ()


def test_a_clone_that_somebody_made_of_a_release_keeps_that_from_being_destroyed(site: FreeBsdSite) -> None:
    sh(site, f"zfs clone {HOME}/templates/debian:00000003@00000003 tank/theirs")
    before = site.ground.fake.picture()
    with pytest.raises(Foreign) as caught:
        site.ground.drivers().storage.destroy_release(SECOND)
    assert caught.value.message == f"cannot destroy release {SECOND}: tank/theirs is a clone of it and not ours"
    assert site.ground.fake.picture() == before


def test_a_clone_where_ours_should_be_is_never_used_nor_destroyed(site: FreeBsdSite) -> None:
    with site.session() as session:
        plan = CHANGES["build"](session)
    assert plan is not None
    foreign = f"{HOME}/releases/debian:{plan.transaction}"
    sh(site, f"zfs clone -o canmount=noauto {HOME}/templates/debian:00000003@00000003 {foreign}")
    with site.session() as session:
        outcome = session.engine.execute(plan, Purpose(reason="test"))
    assert outcome.state is State.STUCK
    assert site.ground.drivers().storage.release_presence(f"debian@{plan.transaction}") is Presence.FOREIGN
    assert sh(site, f"zfs get -Hp -o value origin {foreign}").strip() == f"{HOME}/templates/debian:00000003@00000003"
    sh(site, f"zfs destroy {foreign}")
    with site.session() as session:
        assert session.recoverer.resolve(plan.transaction, "unwind", "ann", "it is gone").state is State.ROLLED_BACK


def test_a_head_with_snapshots_of_somebody_else_stays_with_a_warning(site: FreeBsdSite) -> None:
    with site.session() as session:
        plan = CHANGES["build"](session)
    assert plan is not None

    def auto(argv: tuple[str, ...]) -> None:
        # After the base of the new head: no promotion takes it along.
        if argv[:2] == ("zfs", "hold"):
            run_line(site.ground.fake, f"zfs snapshot {HOME}/templates/debian:00000003@hourly")

    site.ground.host.hooks.append(auto)
    with site.session() as session:
        outcome = session.engine.execute(plan, Purpose(reason="test"))
    assert outcome.state is State.COMMITTED
    assert f"its snapshot {HOME}/templates/debian:00000003@hourly is not ours" in str(outcome.warning)
    assert f"{HOME}/templates/debian:00000003@hourly" in sh(site, f"zfs list -Hp -o name -t snapshot -r {HOME}")


@pytest.mark.parametrize(
    ("what", "presence"),
    [
        (f"zfs destroy {CLONE}", "it is partial, not an immutable snapshot of ours"),
        (f"zfs set readonly=off {CLONE}", "it is partial, not an immutable snapshot of ours"),
        (f"zfs unmount {CLONE}", "it is not mounted, or not ours"),
    ],
)
def test_a_release_that_was_spoilt_behind_our_back_is_not_used(site: FreeBsdSite, what: str, presence: str) -> None:
    sh(site, what)
    error = refused(site, UPGRADE)
    assert isinstance(error, Refused)
    assert presence in error.message and error.remedy
    assert is_serving(site, FIRST)


def test_a_release_that_was_destroyed_behind_our_back_is_told_to_be_gone(site: FreeBsdSite) -> None:
    snapshot = f"{HOME}/templates/debian:00000003@00000003"
    sh(site, f"zfs destroy {CLONE}; zfs release rootswap {snapshot}; zfs destroy {snapshot}")
    error = refused(site, UPGRADE)
    assert isinstance(error, Refused)
    assert error.message == f"cannot use release {SECOND}: it is gone from the pool, and was not destroyed by rootswap"


def test_a_release_that_was_changed_behind_our_back_is_not_used(site: FreeBsdSite) -> None:
    sh(site, f"zfs set readonly=off {CLONE}")
    site.ground.fake.write(f"{POOL}/releases/debian:00000003/usr/sbin/nginx", b"#!/bin/evil\n", 0o755)
    sh(site, f"zfs set readonly=on {CLONE}")
    error = refused(site, UPGRADE)
    assert error.message == f"cannot use release {SECOND}: it was changed after it was taken"
    assert is_serving(site, FIRST)


def test_no_jail_is_started_on_the_empty_directory_of_a_release_that_is_gone(site: FreeBsdSite) -> None:
    site.reboot()
    snapshot = f"{HOME}/templates/debian:00000003@00000001"
    clone = f"{HOME}/releases/debian:00000001"
    sh(site, f"zfs destroy {clone}; zfs release rootswap {snapshot}; zfs destroy {snapshot}")
    with site.session() as session:
        mounted, restored = session.recoverer.recover().restored
    assert mounted.state is State.COMMITTED
    assert site.ground.fake.find(f"{POOL}/releases/debian:00000001") is not None
    assert restored.state is State.ROLLED_BACK
    assert f"cannot mount {FIRST} at {ROOT}: the release is absent" in str(restored)
    assert site.ground.fake.mounts_at(ROOT) == [] and alive(site.ground.fake, "web") is None


def test_a_pool_in_which_somebody_else_has_our_name_is_not_touched(fast_directory: Path) -> None:
    site = FreeBsdSite(fast_directory / "ledger")
    sh(site, f"zfs create {HOME}")
    error = refused(site, lambda session: session.requests.init())
    assert error.message == f"cannot create the pool at {POOL}: what is there is not ours"


# --- slow and hanging -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before it did anything", "after it had done its work"])
@pytest.mark.parametrize(
    ("name", "verb"), [("upgrade", "snapshot"), ("build", "snapshot"), ("build", "clone"), ("build", "hold")]
)
def test_after_a_command_that_hangs_the_probe_decides(site: FreeBsdSite, when: str, name: str, verb: str) -> None:
    before = site.host()

    def hang(argv: tuple[str, ...]) -> None:
        if argv[:2] == ("zfs", verb):
            raise Hang

    hooks = site.ground.host.hooks if when.startswith("before") else site.ground.host.late
    hooks.append(hang)
    outcome = play(site, CHANGES[name])
    assert outcome.state is State.ROLLED_BACK
    assert "not done after 300 s" in str(outcome)
    assert site.host() == before
    assert is_serving(site, FIRST)


def test_a_zfs_that_answers_to_nothing_any_more_leaves_the_transaction_for_a_person(site: FreeBsdSite) -> None:
    dead: list[tuple[str, ...]] = []

    def hang(argv: tuple[str, ...]) -> None:
        if dead or argv[:2] == ("zfs", "snapshot"):
            dead.append(argv)
        if dead and argv[0] in ("zfs", "zpool"):
            raise Hang

    site.ground.host.hooks.append(hang)
    outcome = play(site, UPGRADE)
    assert outcome.state is State.STUCK
    assert "cannot be probed" in str(outcome)
    site.ground.host.hooks.clear()
    with site.session() as session:
        settled = session.recoverer.resolve(outcome.transaction, "unwind", "ann", "the disk was replaced")
    assert settled.state is State.ROLLED_BACK
    assert is_serving(site, FIRST)


# --- full -------------------------------------------------------------------------------------------------------------


def fill(site: FreeBsdSite, left: int) -> None:
    """Fill the pool until so much is left."""
    sh(site, "zfs create -o mountpoint=/fill tank/fill")
    site.ground.fake.write("/fill/it", Blob(b"", available(site.ground.fake, "tank/fill") - left))


def test_a_full_pool_is_refused_before_the_jail_is_stopped(site: FreeBsdSite) -> None:
    fill(site, 1 << 20)
    error = refused(site, UPGRADE)
    assert "the pool has 1 MiB of data" in error.message
    assert is_serving(site, FIRST)


def test_not_even_a_rollback_begins_where_there_is_no_room_for_a_snapshot(site: FreeBsdSite) -> None:
    site.run(UPGRADE).raise_unless_committed()
    fill(site, 100 << 10)
    error = refused(site, lambda session: session.requests.rollback("web"))
    assert "and the snapshot of the data needs room" in error.message
    assert is_serving(site, SECOND)
    site.ground.fake.write("/fill/it", b"")
    site.run(lambda session: session.requests.rollback("web")).raise_unless_committed()
    assert is_serving(site, FIRST)


def test_what_zfs_withholds_is_not_taken_for_room(site: FreeBsdSite) -> None:
    free = int(sh(site, "zpool get -Hp -o value free tank"))
    assert site.ground.drivers().storage.space().data_free_bytes < free - (free >> 6)


def test_a_pool_that_fills_up_in_the_switch_brings_the_jail_back(site: FreeBsdSite) -> None:
    before = site.host()

    def fill_up(argv: tuple[str, ...]) -> None:
        if argv[:2] == ("zfs", "snapshot"):
            fill(site, 0)

    site.ground.host.hooks.append(fill_up)
    outcome = play(site, UPGRADE)
    site.ground.host.hooks.clear()
    assert outcome.state is State.ROLLED_BACK
    assert "cannot snapshot the volumes of web: out of space" in str(outcome)
    assert is_serving(site, FIRST)
    site.ground.fake.write("/fill/it", b"")
    sh(site, "zfs destroy tank/fill")
    assert site.host() == before


# --- mount points -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (ROOT, f"what is mounted at {ROOT} is not {FIRST}"),
        (f"{STATE}/jails/web/stage", f"something is mounted at {STATE}/jails/web/stage"),
        (POOL, f"cannot use the pool at {POOL}: it is not mounted, or not ours"),
    ],
)
def test_a_mount_point_that_is_occupied_is_told_and_left_alone(site: FreeBsdSite, path: str, sentence: str) -> None:
    site.ground.fake.make_directory(path)
    site.ground.fake.mount("tmpfs", path, "tmpfs", Node())
    error = refused(site, UPGRADE)
    assert sentence in error.message and error.remedy
    assert site.ground.fake.mounts_at(path)[-1].kind == "tmpfs"


def test_a_stacked_mount_over_the_place_of_a_release_is_not_taken_for_it(site: FreeBsdSite) -> None:
    sh(site, f"zfs unmount {CLONE}")
    place = f"{POOL}/releases/debian:00000003"
    site.ground.fake.mount("tmpfs", place, "tmpfs", Node())
    with pytest.raises(Foreign, match=f"something is mounted at {place}"):
        site.ground.drivers().storage.mount_pool(site.pool())
    assert site.ground.fake.mounts_at(place)[-1].kind == "tmpfs"
    assert not site.ground.drivers().mounts.holds(ROOT, Source("bind", place))


def test_a_directory_with_files_in_it_is_not_covered_by_the_pool(fast_directory: Path) -> None:
    site = FreeBsdSite(fast_directory / "ledger")
    site.ground.fake.make_directory(POOL)
    site.ground.fake.write(f"{POOL}/precious", b"mine")
    before = site.ground.fake.picture()
    outcome = site.run(lambda session: session.requests.init())
    assert outcome.state is State.ROLLED_BACK
    assert f"cannot mount the pool at {POOL}: the directory is not empty" in str(outcome)
    assert site.ground.fake.picture() == before
