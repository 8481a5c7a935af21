"""The LVM driver on a fake, in bad worlds: one clear sentence, nothing foreign touched, nothing half done."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.bootstrap import Session
from commands.drivers.base import Presence
from commands.drivers.lvm import LvmStorage, NewVolumes
from commands.drivers.lvm_report import name_of
from commands.drivers.mounts import LinuxMounts
from commands.errors import DriverError, Foreign, Refused, ToolTimedOut
from commands.transactions.plan import Plan
from ledger.lifecycle import State
from tests.fakes.lvm_host import Mounted
from tests.fakes.lvm_pool import HEAD, LOG, NEXT, RELEASE, TRASH, TX, FakePool, make_pool
from tests.recovery.lvm_site import LvmSite

# --- room -------------------------------------------------------------------------------------------------------------


def test_room_is_counted_in_data_and_in_metadata_and_a_queueing_pool_is_cautioned_against(thin: FakePool) -> None:
    thin.lvm.data_percent, thin.lvm.metadata_percent = 25.0, 81.0
    space = thin.storage.space()
    assert (space.size_bytes, space.data_free_bytes) == (64 << 30, 48 << 30)
    assert space.metadata_free_bytes is not None
    assert space.metadata_free_bytes < space.metadata_reserve_bytes
    assert len(space.cautions) == 1
    assert "writes wait" in space.cautions[0]
    thin.lvm.metadata_percent, thin.lvm.when_full = 79.0, "error"
    space = thin.storage.space()
    assert space.metadata_free_bytes is not None
    assert space.metadata_free_bytes > space.metadata_reserve_bytes
    assert space.cautions == ()


@pytest.mark.parametrize("health", ["out_of_data", "metadata_read_only", "failed"])
def test_a_thin_pool_in_an_error_state_is_refused_before_anything_begins(thin: FakePool, health: str) -> None:
    thin.release()
    thin.lvm.health = health
    for ask in (lambda: thin.storage.pool_presence(thin.spec), thin.storage.space):
        with pytest.raises(DriverError, match=f"cannot use thin pool vg/pool: it is {health}"):
            ask()


def test_full_metadata_lets_no_snapshot_be_taken_and_nothing_is_left_of_the_try(thin: FakePool) -> None:
    thin.jail()
    thin.lvm.metadata_percent = 100.0
    before = set(thin.lvm.volumes)
    for change in (
        lambda: thin.storage.snapshot_volumes("web", ["log", "home"], TX),
        lambda: thin.storage.take_release(f"debian@{NEXT}", HEAD),
        lambda: thin.storage.begin_template("debian", NEXT, HEAD),
    ):
        with pytest.raises(DriverError, match="reached threshold"):
            change()
    thin.storage.set_snapshot_aside("web", ["log", "home"], TX)
    assert set(thin.lvm.volumes) == before
    assert thin.storage.snapshot_presence("web", ["log", "home"], TX) is Presence.ABSENT


# --- bad worlds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("thin_pool", ["gone/pool", "vg/gone"])
def test_a_group_or_a_thin_pool_that_is_missing_is_told_in_one_sentence(tmp_path: Path, thin_pool: str) -> None:
    pool = make_pool(tmp_path)
    spec = pool.spec.model_copy(update={"thin_pool": thin_pool})
    storage = LvmStorage(pool.host, spec, NewVolumes())
    for ask in (storage.create_pool, storage.pool_presence, storage.pool_mounted, storage.mount_pool):
        with pytest.raises(DriverError, match=f"cannot use thin pool {thin_pool}: ") as caught:
            ask(spec)
        assert "\n" not in caught.value.message
        assert caught.value.remedy


def test_a_logical_volume_that_is_no_thin_pool_is_not_taken_for_one(tmp_path: Path) -> None:
    pool = make_pool(tmp_path)
    pool.lvm.plant("data")
    spec = pool.spec.model_copy(update={"thin_pool": "vg/data"})
    with pytest.raises(DriverError, match="there is none"):
        LvmStorage(pool.host, spec, NewVolumes()).create_pool(spec)
    assert pool.lvm.volumes["data"].tags == {"theirs"}


def test_lvs_that_hangs_is_given_up_and_nothing_is_done(thin: FakePool) -> None:
    thin.release()
    before = len(thin.host.commands)
    thin.host.hangs.add("lvs")
    for act in (
        lambda: thin.storage.pool_presence(thin.spec),
        lambda: thin.storage.take_release(f"debian@{NEXT}", HEAD),
        lambda: thin.storage.destroy_release(RELEASE),
    ):
        with pytest.raises(ToolTimedOut):
            act()
    assert len(thin.host.commands) == before


@pytest.mark.parametrize("did_its_work", [False, True])
def test_after_a_command_that_hung_a_look_tells_what_it_did(thin: FakePool, did_its_work: bool) -> None:
    thin.release()
    other = f"debian@{NEXT}"
    (thin.host.late if did_its_work else thin.host.hangs).add("lvchange")
    with pytest.raises(ToolTimedOut):
        thin.storage.take_release(other, HEAD)
    thin.host.late.clear()
    thin.host.hangs.clear()
    assert thin.storage.release_presence(other) is (Presence.PRESENT if did_its_work else Presence.PARTIAL)
    thin.storage.destroy_release(other)
    assert thin.storage.releases() == (RELEASE,)


def test_a_volume_with_our_name_but_without_our_tag_is_never_removed_mounted_or_written(thin: FakePool) -> None:
    thin.release()
    name = name_of("vg", "volumes/web/log")
    thin.lvm.plant(name)
    before = len(thin.host.commands)
    for act in (
        lambda: thin.storage.create_volume("web", LOG, RELEASE),
        lambda: thin.storage.destroy_volume("web", "log"),
    ):
        with pytest.raises(Foreign, match=f"cannot destroy /dev/vg/{name.replace('+', '.')}: it is not ours"):
            act()
    assert {command.split()[0] for command in thin.host.commands[before:]} == {"lvs"}
    assert thin.lvm.volumes[name].tags == {"theirs"}
    assert thin.storage.volumes("web") == ()


def test_tags_that_say_something_else_make_it_foreign(thin: FakePool) -> None:
    thin.release()
    release = thin.lv(f"releases/{RELEASE}")
    release.tags = {"rootswap", "rootswap.marks=volumes/web/log", "rootswap.state=built"}
    assert thin.storage.release_presence(RELEASE) is Presence.FOREIGN
    release.tags = {"rootswap.marks=releases/debian/cccccccc", "rootswap.state=built"}
    assert thin.storage.release_presence(RELEASE) is Presence.FOREIGN


def test_a_release_in_use_is_neither_destroyed_nor_retired_and_the_sentence_says_where(thin: FakePool) -> None:
    thin.release()
    path = f"{thin.spec.path}/jail"
    LinuxMounts(thin.host).mount(thin.storage.root_source(RELEASE), path)
    for act in (lambda: thin.storage.destroy_release(RELEASE), lambda: thin.storage.retire_release(RELEASE, TRASH)):
        with pytest.raises(DriverError, match=f"it is mounted at {path}"):
            act()
    assert thin.storage.release_presence(RELEASE) is Presence.PRESENT


def test_a_device_that_is_held_open_without_a_mount_is_told_as_in_use(thin: FakePool) -> None:
    thin.release()
    thin.lv(f"releases/{RELEASE}").open = 1
    with pytest.raises(DriverError, match="it is in use"):
        thin.storage.destroy_release(RELEASE)


def test_a_release_that_was_removed_behind_our_back_is_absent_and_cannot_be_mounted(thin: FakePool) -> None:
    thin.release()
    del thin.lvm.volumes[name_of("vg", f"releases/{RELEASE}")]
    assert thin.storage.release_presence(RELEASE) is Presence.ABSENT
    with pytest.raises(DriverError, match="it is not there"):
        thin.storage.fingerprint(RELEASE)
    with pytest.raises(DriverError, match="no such device"):
        LinuxMounts(thin.host).mount(thin.storage.root_source(RELEASE), f"{thin.spec.path}/jail")


@pytest.mark.parametrize("what", ["mount", "file"])
def test_a_mount_point_that_is_occupied_is_left_as_it_is(thin: FakePool, what: str) -> None:
    thin.jail()
    thin.host.reboot()
    path = thin.storage.volume_path("web", "log")
    os.makedirs(path, exist_ok=True)
    if what == "mount":
        thin.host.table.append(Mounted(path, None, True))
    else:
        Path(path, "precious").write_text("x")
    with pytest.raises(Foreign, match=f"cannot mount /dev/vg/.* at {path}: .* is there"):
        thin.storage.mount_pool(thin.spec)
    assert thin.storage.pool_presence(thin.spec) is Presence.PARTIAL
    assert what == "mount" or Path(path, "precious").read_text() == "x"


def test_a_mount_of_others_where_a_volume_would_be_filled_from_is_not_unmounted(thin: FakePool) -> None:
    thin.release()
    place = Path(thin.storage.volume_path("web", "log")).with_name("from")
    place.mkdir(parents=True)
    thin.host.table.append(Mounted(str(place), None, True))
    for act in (
        lambda: thin.storage.create_volume("web", LOG, RELEASE),
        lambda: thin.storage.destroy_volume("web", "log"),
    ):
        with pytest.raises(Foreign, match="what is mounted there is not ours"):
            act()
    assert [mount.path for mount in thin.host.table] == [str(place)]


def test_a_directory_of_others_in_the_place_of_a_volume_is_left_as_it_is(thin: FakePool) -> None:
    thin.release()
    place = Path(thin.storage.volume_path("web", "log")).parent
    place.mkdir(parents=True)
    (place / "precious").write_text("x")
    assert thin.storage.volume_presence("web", "log") is Presence.FOREIGN
    for act in (
        lambda: thin.storage.create_volume("web", LOG, RELEASE),
        lambda: thin.storage.destroy_volume("web", "log"),
    ):
        with pytest.raises(Foreign, match=f"cannot destroy {place}: it is not ours"):
            act()
    assert (place / "precious").read_text() == "x"


def test_a_mount_stacked_upon_a_volume_is_noticed(thin: FakePool) -> None:
    thin.jail()
    thin.host.table.append(Mounted(thin.storage.volume_path("web", "log"), None, True))
    assert thin.storage.pool_presence(thin.spec) is Presence.PARTIAL


def test_a_thin_pool_that_another_rootswap_uses_is_foreign(thin: FakePool) -> None:
    spec = thin.spec.model_copy(update={"path": f"{thin.spec.path}-of-another"})
    other = LvmStorage(thin.host, spec, NewVolumes())
    assert other.pool_presence(spec) is Presence.FOREIGN
    for act in (other.create_pool, other.destroy_pool, other.mount_pool):
        with pytest.raises(Foreign, match="another rootswap uses it"):
            act(spec)
    assert len(thin.lvm.pool_tags) == 1


def test_other_volumes_in_the_group_are_none_of_our_business(thin: FakePool) -> None:
    thin.lvm.plant("theirs")
    thin.jail()
    thin.storage.unmount_pool(thin.spec)
    assert thin.lvm.volumes["theirs"].active
    thin.storage.mount_pool(thin.spec)
    assert not any("theirs" in command for command in thin.host.commands)


# --- whole transactions -----------------------------------------------------------------------------------------------

UPGRADE: Callable[[Session], Plan | None] = lambda session: session.requests.upgrade("web", None)  # noqa: E731


@pytest.fixture
def site(fast_directory: Path) -> LvmSite:
    """The jail ``web`` on the first of two releases."""
    site = LvmSite(fast_directory / "base")
    site.settle()
    return site


def test_preflight_refuses_when_the_metadata_is_nearly_used_up(site: LvmSite) -> None:
    site.lvm_host.lvm.metadata_percent = 85.0
    before = site.host()
    with site.session() as session, pytest.raises(Refused, match="9830 KiB of metadata left"):
        UPGRADE(session)
    assert site.host() == before


@pytest.mark.parametrize("request_", ["upgrade", "rollback", "start"])
def test_no_transaction_begins_on_a_thin_pool_in_an_error_state(site: LvmSite, request_: str) -> None:
    site.lvm_host.lvm.health = "out_of_data"
    with site.session() as session, pytest.raises(DriverError, match="it is out_of_data"):
        {
            "upgrade": UPGRADE,
            "rollback": lambda s: s.requests.rollback("web"),
            "start": lambda s: s.requests.start("web"),
        }[request_](session)


def test_metadata_that_fills_up_after_the_stop_brings_the_jail_back_as_it_was(site: LvmSite) -> None:
    before = site.host()

    def fill(point: str) -> None:
        if point.startswith("after lvcreate --yes -s -ky"):  # of the first of two volumes
            site.lvm_host.lvm.metadata_percent = 100.0

    outcome = site.run(UPGRADE, fill)
    assert outcome.state is State.ROLLED_BACK
    assert "reached threshold" in str(outcome.cause)
    assert site.host() == before
    assert not any("snapshots" in name for name in site.lvm_host.lvm.volumes)


def test_a_release_that_was_removed_behind_our_back_is_told_before_the_jail_is_stopped(site: LvmSite) -> None:
    del site.lvm_host.lvm.volumes[name_of("vg", "releases/debian@00000003")]
    before = site.host()
    with site.session() as session, pytest.raises(Exception, match="cannot use release debian@00000003: it is gone"):
        UPGRADE(session)
    assert site.host() == before


@pytest.mark.parametrize(
    ("told", "warned"), [({"queue": b"write back\n"}, True), ({"../queue": b"write back\n"}, True),
                        ({"queue": b"write through\n"}, False), ({}, False)],
)  # fmt: skip
def test_a_disk_whose_cache_forgets_is_warned_of(
    thin: FakePool, monkeypatch: pytest.MonkeyPatch, told: dict[str, bytes], warned: bool
) -> None:
    """LVM does not flush within a command: a power cut there was seen to cost the volume group."""
    disk = thin.lvm.disks[0]
    files = {f"/sys/class/block/{os.path.basename(disk)}/{place}/write_cache": text for place, text in told.items()}
    look, read = thin.host.stat, thin.host.read
    monkeypatch.setattr(thin.host, "stat", lambda path, **how: look("/" if path in files else path, **how))
    monkeypatch.setattr(thin.host, "read", lambda path: files[path] if path in files else read(path))
    cautions = [caution for caution in thin.storage.space().cautions if "hdparm" in caution]
    assert len(cautions) == warned
    assert all(disk in caution for caution in cautions)
