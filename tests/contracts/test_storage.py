"""The contract of Storage, for every storage driver."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from commands.drivers.base import PoolSpec, Presence, Storage, Volume
from commands.drivers.lvm_report import name_of
from commands.drivers.memory import MemoryWorld
from commands.errors import DriverError, Foreign
from tests.contracts.real import directory_pool, real_pool, xfs
from tests.fakes.lvm_pool import make_pool
from tests.fakes.world import Platform
from tests.fakes.zfs_pool import fake_pool

HEAD, NEXT, TX, TRASH = "aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"
RELEASE = f"debian@{TX}"
LOG, HOME = Volume(name="log", path="/var/log"), Volume(name="home", path="/home")


@dataclass
class Backend:
    """A storage with a pool; ``plant`` puts something foreign where ``release:NAME`` and the like would be.

    ``mounts`` is false where the pool is in a directory that is the administrator's to mount.
    """

    storage: Storage
    pool: PoolSpec
    plant: Callable[[str], None]
    make_directory: Callable[[str], object] = lambda path: Path(path).mkdir(parents=True)
    mounts: bool = True

    def head(self, head: str = HEAD) -> None:
        """A finished head of the template debian."""
        self.storage.begin_template("debian", head, None)
        root = self.storage.template_path("debian", head)
        if root.startswith("/"):
            self.make_directory(f"{root}/var/log")
            self.make_directory(f"{root}/home")
        self.storage.finish_template("debian", head)

    def release(self) -> None:
        """A release of that head."""
        self.head()
        self.storage.take_release(RELEASE, HEAD)

    def jail(self) -> None:
        """A jail with two volumes."""
        self.release()
        self.storage.create_volume("web", LOG, RELEASE)
        self.storage.create_volume("web", HOME, RELEASE)


def _memory() -> Iterator[Backend]:
    world = MemoryWorld()
    pool = PoolSpec(driver="memory", path="/memory/pool")
    storage = world.drivers().storage
    storage.create_pool(pool)
    yield Backend(storage, pool, lambda key: world.state.__setitem__(key, "foreign"))


def _btrfs(directory: Path) -> Iterator[Backend]:
    with real_pool(directory) as real:
        yield Backend(real.storage, real.spec, _planter(real.spec))


def _zfs(platform: Platform) -> Iterator[Backend]:
    with fake_pool(platform) as fake:
        yield Backend(fake.storage, fake.spec, fake.plant, fake.world.make_directory)


def _directory(directory: Path) -> Iterator[Backend]:
    """On the file system of the temporary directory; as root, for owners are kept."""
    with directory_pool(directory) as real:
        yield Backend(real.storage, real.spec, _planter(real.spec), mounts=False)


def _xfs(directory: Path) -> Iterator[Backend]:
    """On an XFS that shares the blocks of copies."""
    with xfs(directory / "xfs"):
        yield from _directory(directory / "xfs")


def _lvm(directory: Path) -> Iterator[Backend]:
    """On a fake LVM, modelled on its manuals."""
    thin = make_pool(directory)
    thin.storage.create_pool(thin.spec)

    def plant(key: str) -> None:
        kind, *names = key.split(":")
        thin.lvm.plant(name_of("vg", "/".join([f"{kind}s", *names])))

    yield Backend(thin.storage, thin.spec, plant)


def _planter(pool: PoolSpec) -> Callable[[str], None]:
    def plant(key: str) -> None:
        kind, *names = key.split(":")
        (Path(pool.path, "rootswap").joinpath(f"{kind}s", *names) / "root").mkdir(parents=True)

    return plant


REAL = {"btrfs": _btrfs, "directory": _directory, "directory on xfs": _xfs}


@pytest.fixture(
    params=[
        "memory",
        "fake lvm",
        "zfs on freebsd",
        "zfs on linux",
        *(pytest.param(name, marks=pytest.mark.real) for name in REAL),
    ]
)
def on(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    match request.param:
        case "memory":
            yield from _memory()
        case "fake lvm":
            yield from _lvm(tmp_path)
        case "zfs on freebsd" | "zfs on linux":
            yield from _zfs("linux" if "linux" in request.param else "freebsd")
        case name:
            yield from REAL[name](tmp_path)


# --- pool -------------------------------------------------------------------------------------------------------------


def test_a_pool_is_created_once_and_again_without_harm(on: Backend) -> None:
    on.release()
    on.storage.create_pool(on.pool)
    assert on.storage.pool_presence(on.pool) is Presence.PRESENT
    assert on.storage.release_presence(RELEASE) is Presence.PRESENT


def test_a_pool_that_holds_something_is_not_removed(on: Backend) -> None:
    on.release()
    with pytest.raises(DriverError):
        on.storage.destroy_pool(on.pool)
    assert on.storage.pool_presence(on.pool) is Presence.PRESENT
    assert on.storage.releases() == (RELEASE,)


def test_an_empty_pool_is_removed_and_so_again(on: Backend) -> None:
    on.storage.destroy_pool(on.pool)
    assert on.storage.pool_presence(on.pool) is Presence.ABSENT
    assert on.storage.pool_mounted(on.pool) is Presence.ABSENT
    on.storage.destroy_pool(on.pool)


def test_a_pool_can_be_emptied_and_removed(on: Backend) -> None:
    on.jail()
    for volume in on.storage.volumes("web"):
        on.storage.destroy_volume("web", volume)
    on.storage.destroy_release(RELEASE)
    on.storage.destroy_template("debian", HEAD)
    on.storage.destroy_pool(on.pool)
    assert on.storage.pool_presence(on.pool) is Presence.ABSENT


def test_a_pool_is_unmounted_and_mounted_with_all_that_it_holds(on: Backend) -> None:
    on.release()
    for _ in range(2):
        on.storage.unmount_pool(on.pool)
        assert on.storage.pool_mounted(on.pool) is (Presence.ABSENT if on.mounts else Presence.PRESENT)
    for _ in range(2):
        on.storage.mount_pool(on.pool)
        assert on.storage.pool_mounted(on.pool) is Presence.PRESENT
    assert on.storage.release_presence(RELEASE) is Presence.PRESENT


def test_there_is_room_in_a_new_pool(on: Backend) -> None:
    space = on.storage.space()
    assert 0 < space.data_free_bytes <= space.size_bytes
    assert space.metadata_free_bytes is None or 0 < space.metadata_free_bytes <= space.size_bytes


# --- templates --------------------------------------------------------------------------------------------------------


def test_a_template_is_absent_then_partial_then_present_then_absent(on: Backend) -> None:
    assert on.storage.template_presence("debian", HEAD) is Presence.ABSENT
    on.storage.begin_template("debian", HEAD, None)
    assert on.storage.template_presence("debian", HEAD) is Presence.PARTIAL
    assert on.storage.templates() == (("debian", HEAD),)
    on.storage.finish_template("debian", HEAD)
    assert on.storage.template_presence("debian", HEAD) is Presence.PRESENT
    assert on.storage.templates() == (("debian", HEAD),)
    for _ in range(2):
        on.storage.destroy_template("debian", HEAD)
        assert on.storage.template_presence("debian", HEAD) is Presence.ABSENT
        assert on.storage.templates() == ()


def test_a_half_built_template_is_destroyed(on: Backend) -> None:
    on.storage.begin_template("debian", HEAD, None)
    on.storage.destroy_template("debian", HEAD)
    assert on.storage.template_presence("debian", HEAD) is Presence.ABSENT


def test_a_head_on_a_base_leaves_the_base_as_it_is(on: Backend) -> None:
    on.head()
    on.storage.begin_template("debian", NEXT, HEAD)
    assert on.storage.template_presence("debian", HEAD) is Presence.PRESENT
    assert on.storage.template_presence("debian", NEXT) is Presence.PARTIAL
    on.storage.destroy_template("debian", NEXT)
    assert on.storage.templates() == (("debian", HEAD),)


def test_a_head_on_a_base_that_is_not_there_is_refused_before_anything_is_made(on: Backend) -> None:
    with pytest.raises(DriverError):
        on.storage.begin_template("debian", NEXT, HEAD)
    assert on.storage.template_presence("debian", NEXT) is Presence.ABSENT


# --- releases ---------------------------------------------------------------------------------------------------------


def test_a_release_is_taken_once_and_again_without_harm(on: Backend) -> None:
    assert on.storage.releases() == ()
    on.release()
    evidence = on.storage.fingerprint(RELEASE)
    on.storage.take_release(RELEASE, HEAD)
    assert on.storage.release_presence(RELEASE) is Presence.PRESENT
    assert on.storage.releases() == (RELEASE,)
    assert on.storage.fingerprint(RELEASE) == evidence


def test_a_release_of_no_head_is_refused_before_anything_is_made(on: Backend) -> None:
    with pytest.raises(DriverError):
        on.storage.take_release(RELEASE, HEAD)
    assert on.storage.release_presence(RELEASE) is Presence.ABSENT


def test_a_release_outlives_its_head_and_is_destroyed_once_and_again(on: Backend) -> None:
    on.release()
    on.storage.destroy_template("debian", HEAD)
    assert on.storage.release_presence(RELEASE) is Presence.PRESENT
    for _ in range(2):
        on.storage.destroy_release(RELEASE)
        assert on.storage.release_presence(RELEASE) is Presence.ABSENT


def test_the_roots_of_two_releases_are_different_sources(on: Backend) -> None:
    assert on.storage.root_source(RELEASE) != on.storage.root_source(f"debian@{NEXT}")


def test_a_retired_release_comes_back_as_it_was(on: Backend) -> None:
    on.release()
    evidence = on.storage.fingerprint(RELEASE)
    for _ in range(2):
        on.storage.retire_release(RELEASE, TRASH)
        assert on.storage.release_presence(RELEASE) is Presence.ABSENT
        assert on.storage.retired_presence(RELEASE, TRASH) is Presence.PRESENT
        assert on.storage.trash() == (TRASH,)
    for _ in range(2):
        on.storage.restore_release(RELEASE, TRASH)
        assert on.storage.release_presence(RELEASE) is Presence.PRESENT
        assert on.storage.retired_presence(RELEASE, TRASH) is Presence.ABSENT
        assert on.storage.trash() == ()
    assert on.storage.fingerprint(RELEASE) == evidence


def test_emptying_the_trash_destroys_what_its_transaction_put_there_and_no_more(on: Backend) -> None:
    on.release()
    other = f"debian@{NEXT}"
    on.storage.take_release(other, HEAD)
    on.storage.retire_release(RELEASE, TRASH)
    on.storage.retire_release(other, TX)
    for _ in range(2):
        on.storage.empty_trash(TRASH)
        assert on.storage.trash() == (TX,)
    assert on.storage.retired_presence(RELEASE, TRASH) is Presence.ABSENT
    assert on.storage.retired_presence(other, TX) is Presence.PRESENT


# --- volumes and their snapshots --------------------------------------------------------------------------------------


def test_volumes_are_created_once_and_again_without_harm_and_destroyed(on: Backend) -> None:
    assert on.storage.volume_presence("web", "log") is Presence.ABSENT
    on.jail()
    on.storage.create_volume("web", LOG, RELEASE)
    assert on.storage.volumes("web") == ("home", "log")
    assert on.storage.volumes("mail") == ()
    for _ in range(2):
        on.storage.destroy_volume("web", "log")
        assert on.storage.volume_presence("web", "log") is Presence.ABSENT
    assert on.storage.volumes("web") == ("home",)


def test_a_snapshot_is_taken_once_and_again_without_harm(on: Backend) -> None:
    on.jail()
    assert on.storage.snapshot_presence("web", ["home", "log"], TX) is Presence.ABSENT
    for _ in range(2):
        on.storage.snapshot_volumes("web", ["home", "log"], TX)
        assert on.storage.snapshot_presence("web", ["home", "log"], TX) is Presence.PRESENT
    (snapshot,) = on.storage.snapshots("web")
    assert (snapshot.transaction, snapshot.volumes, snapshot.unwound) == (TX, ("home", "log"), False)
    assert on.storage.snapshots("mail") == ()


def test_a_complete_snapshot_is_set_aside_and_kept(on: Backend) -> None:
    on.jail()
    on.storage.snapshot_volumes("web", ["home", "log"], TX)
    for _ in range(2):
        on.storage.set_snapshot_aside("web", ["home", "log"], TX)
        assert on.storage.snapshot_presence("web", ["home", "log"], TX) is Presence.ABSENT
    (snapshot,) = on.storage.snapshots("web")
    assert (snapshot.transaction, snapshot.volumes, snapshot.unwound) == (TX, ("home", "log"), True)


def test_an_incomplete_snapshot_is_partial_and_does_not_survive_its_undo(on: Backend) -> None:
    on.jail()
    on.storage.snapshot_volumes("web", ["home"], TX)
    assert on.storage.snapshot_presence("web", ["home", "log"], TX) is Presence.PARTIAL
    on.storage.set_snapshot_aside("web", ["home", "log"], TX)
    assert on.storage.snapshot_presence("web", ["home", "log"], TX) is Presence.ABSENT
    assert on.storage.snapshots("web") == ()


def test_a_snapshot_of_a_volume_that_is_not_there_fails(on: Backend) -> None:
    on.jail()
    with pytest.raises(DriverError):
        on.storage.snapshot_volumes("web", ["mail"], TX)
    assert on.storage.snapshot_presence("web", ["mail"], TX) is not Presence.PRESENT


# --- what is not ours -------------------------------------------------------------------------------------------------


def test_a_foreign_template_is_told_and_never_destroyed(on: Backend) -> None:
    on.plant(f"template:debian:{HEAD}")
    with pytest.raises(Foreign):
        on.storage.destroy_template("debian", HEAD)
    with pytest.raises(Foreign):
        on.storage.begin_template("debian", HEAD, None)
    assert on.storage.template_presence("debian", HEAD) is Presence.FOREIGN


def test_a_foreign_release_is_told_and_never_destroyed_nor_overwritten(on: Backend) -> None:
    on.head()
    on.plant(f"release:{RELEASE}")
    with pytest.raises(Foreign):
        on.storage.take_release(RELEASE, HEAD)
    with pytest.raises(Foreign):
        on.storage.destroy_release(RELEASE)
    with pytest.raises(DriverError):
        on.storage.retire_release(RELEASE, TRASH)
    assert on.storage.release_presence(RELEASE) is Presence.FOREIGN


def test_a_foreign_volume_is_told_and_never_destroyed_nor_overwritten(on: Backend) -> None:
    on.release()
    on.plant("volume:web:log")
    with pytest.raises(Foreign):
        on.storage.create_volume("web", LOG, RELEASE)
    with pytest.raises(Foreign):
        on.storage.destroy_volume("web", "log")
    assert on.storage.volume_presence("web", "log") is Presence.FOREIGN


def test_a_foreign_snapshot_is_told_and_never_destroyed_nor_set_aside(on: Backend) -> None:
    on.jail()
    on.plant(f"snapshot:web:{TX}:log")
    assert on.storage.snapshot_presence("web", ["home", "log"], TX) is Presence.FOREIGN
    with pytest.raises(Foreign):
        on.storage.snapshot_volumes("web", ["home", "log"], TX)
    with pytest.raises(Foreign):
        on.storage.set_snapshot_aside("web", ["home", "log"], TX)
    assert on.storage.snapshot_presence("web", ["home", "log"], TX) is Presence.FOREIGN
