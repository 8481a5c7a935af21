"""The contract of Mounts, for every mounts driver; then what only a Linux host has."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from commands.drivers import mounts_freebsd
from commands.drivers.base import Mounts, Presence, Source
from commands.drivers.host import LocalHost
from commands.drivers.memory import MemoryWorld
from commands.drivers.mounts import LinuxMounts, parse_mounts, topmost
from commands.errors import DriverError, Foreign, ToolTimedOut
from commands.steps.remount_root import RemountRoot
from tests.contracts.real import directory_pool, require_root, sh, unmount_all
from tests.fakes.host import Hang
from tests.fakes.jail_site import ONE, ROOT, TWO, JailSite, jail_site


@dataclass
class Backend:
    """A mount table, two sources, a place for mounts, and something foreign to mount."""

    mounts: Mounts
    one: Source
    two: Source
    home: str
    plant: Callable[[str], None]


def _memory() -> Iterator[Backend]:
    world = MemoryWorld(state={"release:one": "root", "release:two": "root"})
    one, two = Source("memory", "one"), Source("memory", "two")
    yield Backend(
        world.drivers().mounts, one, two, "/jails", lambda path: world.state.__setitem__(f"mount:{path}", "foreign")
    )


def _linux(directory: Path) -> Iterator[Backend]:
    require_root()
    for name in ("one", "two"):
        (directory / name).mkdir()
        (directory / name / "which").write_text(name)

    def plant(path: str) -> None:
        os.makedirs(path, exist_ok=True)
        sh("mount", "-t", "tmpfs", "foreign", path)

    one, two = (Source("bind", str(directory / name)) for name in ("one", "two"))
    try:
        yield Backend(LinuxMounts(LocalHost()), one, two, str(directory / "jails"), plant)
    finally:
        unmount_all(directory)


def _freebsd(kind: str) -> Iterator[Backend]:
    """On a FreeBSD in memory: snapshots of ZFS, or directories shown by nullfs."""
    site = jail_site()
    site.sh("mkdir -p /rs/one /rs/two")
    one, two = (ONE, TWO) if kind == "freebsd zfs" else (Source("bind", "/rs/one"), Source("bind", "/rs/two"))
    site.sh(f"umount {ROOT}")

    def plant(path: str) -> None:
        assert site.sh(f"mkdir -p {path}; mount -t tmpfs tmpfs {path}") == ""

    yield Backend(site.mounts, one, two, "/rs/home", plant)


@pytest.fixture(params=["memory", "freebsd zfs", "freebsd nullfs", pytest.param("linux", marks=pytest.mark.real)])
def on(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    if request.param.startswith("freebsd"):
        yield from _freebsd(request.param)
    else:
        yield from _memory() if request.param == "memory" else _linux(tmp_path)


def test_a_source_is_mounted_once_and_again_without_a_second_layer(on: Backend) -> None:
    path = f"{on.home}/web/root"
    assert on.mounts.layers(path) == 0
    assert not on.mounts.holds(path, on.one)
    for _ in range(2):
        on.mounts.mount(on.one, path)
        assert on.mounts.layers(path) == 1
        assert on.mounts.holds(path, on.one)
        assert not on.mounts.holds(path, on.two)


def test_a_mount_is_unmounted_once_and_again(on: Backend) -> None:
    path = f"{on.home}/web/root"
    on.mounts.mount(on.one, path)
    for _ in range(2):
        on.mounts.unmount(path)
        assert on.mounts.layers(path) == 0


def test_a_mount_is_moved_and_leaves_its_old_place_free(on: Backend) -> None:
    old, new = f"{on.home}/web/next", f"{on.home}/web/root"
    on.mounts.mount(on.one, old)
    on.mounts.move(old, new)
    assert on.mounts.layers(old) == 0
    assert on.mounts.layers(new) == 1
    assert on.mounts.holds(new, on.one)


def test_two_places_hold_what_was_mounted_there_each(on: Backend) -> None:
    on.mounts.mount(on.one, f"{on.home}/one")
    on.mounts.mount(on.two, f"{on.home}/two")
    on.mounts.unmount(f"{on.home}/one")
    assert on.mounts.holds(f"{on.home}/two", on.two)


def test_nothing_is_mounted_over_what_is_not_ours(on: Backend) -> None:
    path = f"{on.home}/web/root"
    on.plant(path)
    with pytest.raises(Foreign):
        on.mounts.mount(on.one, path)
    assert on.mounts.layers(path) == 1
    assert not on.mounts.holds(path, on.one)


def test_nothing_is_moved_onto_another_mount(on: Backend) -> None:
    old, new = f"{on.home}/web/next", f"{on.home}/web/root"
    on.mounts.mount(on.one, old)
    on.plant(new)
    with pytest.raises(DriverError):
        on.mounts.move(old, new)
    assert on.mounts.holds(old, on.one)
    assert not on.mounts.holds(new, on.one)


def test_a_mount_that_is_not_there_is_not_moved(on: Backend) -> None:
    with pytest.raises(DriverError):
        on.mounts.move(f"{on.home}/web/next", f"{on.home}/web/root")


# --- Linux ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def linux(tmp_path: Path) -> Iterator[Backend]:
    yield from _linux(tmp_path)


@pytest.mark.real
def test_what_is_mounted_can_be_read_and_not_written(linux: Backend) -> None:
    path = f"{linux.home}/web root"  # a blank is written as an escape in the kernel's table
    linux.mounts.mount(linux.one, path)
    assert linux.mounts.layers(path) == 1
    assert Path(path, "which").read_text() == "one"
    with pytest.raises(OSError, match="Read-only"):
        Path(path, "which").write_text("x")
    Path(linux.one.what, "which").write_text("the source itself is as writable as before")


@pytest.mark.real
def test_a_mount_that_was_left_writable_is_made_read_only(linux: Backend) -> None:
    path = f"{linux.home}/root"
    os.makedirs(path)
    sh("mount", "--bind", linux.one.what, path)
    linux.mounts.mount(linux.one, path)
    assert linux.mounts.layers(path) == 1
    with pytest.raises(OSError, match="Read-only"):
        Path(path, "which").write_text("x")


@pytest.mark.real
def test_a_root_whose_mounting_was_cut_off_is_half_done_and_put_right(tmp_path: Path) -> None:
    with directory_pool(tmp_path) as pool:
        pool.furnish()
        drivers = replace(MemoryWorld().drivers(), storage=pool.storage, mounts=LinuxMounts(LocalHost()))
        root, release = tmp_path / "jails/web/root", "debian@cccccccc"
        root.mkdir(parents=True)
        step = RemountRoot(jail="web", path=str(root), stage=f"{root}.next", current=None, target=release)
        back = step.model_copy(update={"current": release, "target": None})
        source = pool.storage.root_source(release)
        for change in (step.run, back.undo):
            sh("mount", "--bind", source.what, str(root))
            assert (step.probe(drivers), back.probe(drivers)) == (Presence.PARTIAL, Presence.PARTIAL)
            change(drivers)
            assert (step.probe(drivers), back.probe(drivers)) == (Presence.PRESENT, Presence.ABSENT)
            with pytest.raises(OSError, match="Read-only"):
                (root / "x").touch()
            step.undo(drivers)
            assert (step.probe(drivers), back.probe(drivers)) == (Presence.ABSENT, Presence.PRESENT)


@pytest.mark.real
def test_a_mount_in_use_is_told_and_stays(linux: Backend) -> None:
    path = f"{linux.home}/root"
    linux.mounts.mount(linux.one, path)
    with open(f"{path}/which"), pytest.raises(DriverError, match=f"cannot unmount {path}: .*busy"):
        linux.mounts.unmount(path)
    assert linux.mounts.holds(path, linux.one)
    linux.mounts.unmount(path)


@pytest.mark.real
def test_nothing_is_mounted_through_a_symlink(linux: Backend, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    os.symlink("elsewhere", tmp_path / "link")
    with pytest.raises(DriverError, match="link is a symbolic link"):
        linux.mounts.mount(linux.one, str(tmp_path / "link/root"))
    assert linux.mounts.layers(str(tmp_path / "elsewhere/root")) == 0


@pytest.mark.real
def test_the_topmost_of_stacked_mounts_is_what_counts(linux: Backend) -> None:
    path = f"{linux.home}/root"
    linux.mounts.mount(linux.one, path)
    sh("mount", "--bind", linux.two.what, path)
    assert linux.mounts.layers(path) == 2
    assert linux.mounts.holds(path, linux.two)
    assert not linux.mounts.holds(path, linux.one)
    linux.mounts.unmount(path)
    assert linux.mounts.holds(path, linux.one)


@pytest.mark.real
def test_a_source_that_is_not_there_is_told(linux: Backend) -> None:
    with pytest.raises(DriverError, match="cannot run mount: "):
        linux.mounts.mount(Source("bind", "/nonexistent"), f"{linux.home}/root")
    assert linux.mounts.layers(f"{linux.home}/root") == 0


@pytest.mark.real
def test_a_move_that_was_interrupted_between_its_two_halves_is_finished(linux: Backend) -> None:
    old, new = f"{linux.home}/next", f"{linux.home}/root"
    linux.mounts.mount(linux.one, old)
    linux.mounts.mount(linux.one, new)
    linux.mounts.move(old, new)
    assert (linux.mounts.layers(old), linux.mounts.layers(new)) == (0, 1)
    linux.mounts.move(old, new)
    assert linux.mounts.holds(new, linux.one)


SHARED = """
import sys
from commands.drivers.base import Source
from commands.drivers.host import LocalHost
from commands.drivers.mounts import LinuxMounts
one, old, new = sys.argv[1:]
host = LocalHost()
mounts = LinuxMounts(host)
mounts.mount(Source("bind", one), old)
assert host.run(["mount", "--move", old, new], check=False).status != 0, "the kernel moves it: nothing is tested here"
mounts.move(old, new)
assert mounts.layers(old) == 0 and mounts.layers(new) == 1 and mounts.holds(new, Source("bind", one))
try:
    host.write(f"{new}/which", b"x")
except Exception as error:
    print(error)
"""


@pytest.mark.real
def test_a_mount_is_moved_where_systemd_has_made_everything_shared(linux: Backend) -> None:
    old, new = f"{linux.home}/next", f"{linux.home}/root"
    os.makedirs(new)
    moved = subprocess.run(
        ["unshare", "--mount", "--propagation", "shared", sys.executable, "-c", SHARED, linux.one.what, old, new],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert moved.returncode == 0, moved.stderr
    assert "the file system is read-only" in moved.stdout


TABLE = """\
22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda rw
60 22 0:43 / /var/tmp/a\\040b rw,noatime - btrfs /dev/loop1 rw,subvol=/
61 60 0:44 /r\\134x /var/tmp/a\\040b ro,noatime shared:23 master:2 - btrfs /dev/loop\\0401 rw
70 22 0:45 / /plain rw - tmpfs none rw
"""


def test_the_kernels_table_is_read_with_its_escapes_and_optional_fields() -> None:
    table = parse_mounts(TABLE)
    top = topmost(table, "/var/tmp/a b")
    assert top is not None
    assert (top.id, top.parent, top.device, top.root) == (61, 60, "0:44", "/r\\x")
    assert (top.read_only, top.shared, top.kind, top.source) == (True, True, "btrfs", "/dev/loop 1")
    assert [mount.shared for mount in table] == [True, False, True, False]
    assert topmost(table, "/var/tmp") is None


def test_the_topmost_mount_is_known_by_its_parents_not_by_the_order_of_the_table() -> None:
    backwards = parse_mounts("\n".join(reversed(TABLE.splitlines())))
    top = topmost(backwards, "/var/tmp/a b")
    assert top is not None
    assert top.id == 61


# --- FreeBSD ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def site() -> JailSite:
    return jail_site()


def test_a_path_with_a_blank_in_it_is_found_again(site: JailSite) -> None:
    site.mounts.mount(Source("bind", "/rs/volumes/web/home"), "/rs/a place/root")
    assert site.mounts.layers("/rs/a place/root") == 1
    assert site.mounts.holds("/rs/a place/root", Source("bind", "/rs/volumes/web/home"))
    site.mounts.unmount("/rs/a place/root")
    assert site.mounts.layers("/rs/a place/root") == 0


def test_a_mount_that_somebody_has_made_writable_is_made_anew_read_only(site: JailSite) -> None:
    site.sh("mkdir -p /rs/place; mount -t nullfs /rs/volumes/web/home /rs/place")
    assert site.mounts.is_writable("/rs/place")
    site.mounts.mount(Source("bind", "/rs/volumes/web/home"), "/rs/place")
    (mount,) = site.world.mounts_at("/rs/place")
    assert mount.read_only and not site.mounts.is_writable("/rs/place")


def test_of_stacked_mounts_the_latest_is_what_counts(site: JailSite) -> None:
    site.sh(f"mount -t tmpfs tmpfs {ROOT}")
    assert site.mounts.layers(ROOT) == 2
    assert not site.mounts.holds(ROOT, ONE)
    site.mounts.unmount(ROOT)
    assert site.mounts.holds(ROOT, ONE)


def test_an_unmount_whose_answer_is_lost_is_not_an_error_the_second_time(site: JailSite) -> None:
    def lose(argv: tuple[str, ...]) -> None:
        if argv[0] == "umount":
            raise Hang

    site.host.late.append(lose)
    with pytest.raises(ToolTimedOut):
        site.mounts.unmount(ROOT)
    site.host.late.clear()
    site.mounts.unmount(ROOT)
    assert site.mounts.layers(ROOT) == 0


@pytest.mark.parametrize("kind", ["zfs", "nullfs"])
def test_a_move_that_was_cut_off_leaves_neither_place_for_the_step_to_go_on_from(site: JailSite, kind: str) -> None:
    source = ONE if kind == "zfs" else Source("bind", "/rs/volumes/web/home")
    site.mounts.unmount(ROOT)
    site.mounts.mount(source, "/rs/stage")

    def cut(argv: tuple[str, ...]) -> None:
        if argv[:2] == ("mount", "-t"):
            raise Hang

    site.host.hooks.append(cut)
    with pytest.raises(ToolTimedOut):
        site.mounts.move("/rs/stage", ROOT)
    assert (site.mounts.layers("/rs/stage"), site.mounts.layers(ROOT)) == (0, 0)


def test_a_mount_that_is_in_both_places_is_moved_to_the_new_one(site: JailSite) -> None:
    source = Source("bind", "/rs/volumes/web/home")
    site.mounts.unmount(ROOT)
    for path in ("/rs/stage", ROOT):
        site.mounts.mount(source, path)
    site.mounts.move("/rs/stage", ROOT)
    assert (site.mounts.layers("/rs/stage"), site.mounts.holds(ROOT, source)) == (0, True)


def test_every_place_of_a_data_set_is_known_with_what_a_nullfs_shows_of_it(site: JailSite) -> None:
    data_set = Source("zfs", "tank/web")
    assert site.mounts.places(data_set) == ("/rs/templates/web",)
    for source, path in (("/rs/templates/web/etc", "/rs/shown"), ("/rs/templates", "/rs/not-shown")):
        site.mounts.mount(Source("bind", source), path)
    assert site.mounts.places(data_set) == ("/rs/templates/web", "/rs/shown")
    assert site.mounts.places(ONE) == (ROOT,)
    assert site.mounts.places(Source("zfs", "tank")) == ()


FREEBSD_TABLE = """\
/dev/vtbd0\t\t/\t\t\tufs\trw\t\t1 1
devfs\t\t\t/rs/jails/web/root/dev\tdevfs\trw\t\t0 0
tank/rootswap/templates/web@r 2 /rs/jails/web one/root\tzfs\tro,noatime,nfsv4acls \t0 0
/rs/a\\040b\t\t/rs/c\\040d\t\tnullfs\tro,noatime \t0 0
"""


def test_freebsds_table_is_read_with_blanks_tabs_and_escapes() -> None:
    table = mounts_freebsd.parse_mounts(FREEBSD_TABLE)
    assert [(mount.special, mount.path, mount.kind, mount.read_only) for mount in table] == [
        ("/dev/vtbd0", "/", "ufs", False),
        ("devfs", "/rs/jails/web/root/dev", "devfs", False),
        ("tank/rootswap/templates/web@r 2", "/rs/jails/web one/root", "zfs", True),
        ("/rs/a b", "/rs/c d", "nullfs", True),
    ]
    with pytest.raises(DriverError, match="is not a line of fstab"):
        mounts_freebsd.parse_mounts("mount: usage\n")
