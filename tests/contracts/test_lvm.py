"""The LVM driver on a fake that is modelled on the manuals: what LVM has and others have not, and bad worlds."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from commands.drivers.base import PoolSpec, Presence, Source, Volume
from commands.drivers.lvm import LvmStorage, NewVolumes
from commands.drivers.lvm_report import name_of, parse_report
from commands.drivers.mounts import LinuxMounts, mounted, topmost
from commands.errors import DriverError, Foreign, ToolTimedOut
from tests.fakes.lvm import FakeLvm, Lv
from tests.fakes.lvm_host import FakeLvmHost, Mounted

HEAD, NEXT, TX, TRASH = "aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"
RELEASE = f"debian@{TX}"
LOG, HOME = Volume(name="log", path="/var/log"), Volume(name="home", path="/home")


@dataclass
class Pool:
    """A pool on a fake LVM, with what a test may do to it."""

    host: FakeLvmHost
    spec: PoolSpec
    storage: LvmStorage

    @property
    def lvm(self) -> FakeLvm:
        return self.host.lvm

    def lv(self, key: str) -> Lv:
        """The logical volume of ``releases/…`` and the like."""
        return self.lvm.volumes[name_of("vg", key)]

    def head(self, head: str = HEAD) -> Path:
        """A finished head of the template debian; its root."""
        self.storage.begin_template("debian", head, None)
        root = Path(self.storage.template_path("debian", head))
        for directory in ("var/log", "home", "etc"):
            (root / directory).mkdir(parents=True)
        (root / "var/log/app").write_text(f"log of {head}")
        self.storage.finish_template("debian", head)
        return root

    def release(self) -> None:
        self.head()
        self.storage.take_release(RELEASE, HEAD)

    def jail(self) -> None:
        self.release()
        for volume in (LOG, HOME):
            self.storage.create_volume("web", volume, RELEASE)

    def ran(self, tool: str) -> list[str]:
        """The commands that were run of a tool."""
        return [command for command in self.host.commands if command.split()[0] == tool]


def make(directory: Path, file_system: str = "ext4") -> Pool:
    (directory / "store").mkdir()
    host = FakeLvmHost(FakeLvm(directory / "store"))
    spec = PoolSpec(driver="lvm", path=str(directory / "pool"), thin_pool="vg/pool")
    new = NewVolumes("xfs" if file_system == "xfs" else "ext4", 4 << 30, 2 << 30)
    return Pool(host, spec, LvmStorage(host, spec, new))


@pytest.fixture(params=["ext4", "xfs"])
def pool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pool]:
    """A pool for each file system."""
    pool = make(tmp_path, request.param)
    pool.storage.create_pool(pool.spec)
    yield pool


# --- how things are made ----------------------------------------------------------------------------------------------


def test_what_is_made_is_ours_from_the_very_command_that_makes_it(pool: Pool) -> None:
    pool.jail()
    pool.storage.snapshot_volumes("web", ["log", "home"], TX)
    for command in pool.ran("lvcreate"):
        assert "--addtag rootswap " in command
        assert "rootswap.marks=" in command
        assert "rootswap.state=" in command


def test_snapshots_have_no_size_and_releases_are_read_only_and_not_skipped(pool: Pool) -> None:
    pool.jail()
    pool.storage.snapshot_volumes("web", ["log"], TX)
    snapshots = [command for command in pool.ran("lvcreate") if " -s " in command]
    assert len(snapshots) == 2
    assert not any("-L" in command.split() or "-V" in command.split() for command in snapshots)
    release, kept = pool.lv(f"releases/{RELEASE}"), pool.lv(f"snapshots/web/{TX}/log")
    assert (release.permission, release.skip, release.active) == ("r", False, True)
    assert (kept.permission, kept.skip, kept.active) == ("r", True, False)
    assert pool.storage.root_source(RELEASE).what == "/dev/vg/rootswap+releases+debian+cccccccc"


def test_new_file_systems_have_the_kind_and_size_that_are_configured(pool: Pool) -> None:
    pool.jail()
    head, log = pool.lv(f"templates/debian/{HEAD}"), pool.lv("volumes/web/log")
    assert (head.size_bytes, log.size_bytes) == (4 << 30, 2 << 30)
    assert head.kind == log.kind in ("ext4", "xfs")
    assert os.listdir(pool.storage.volume_path("web", "log")) == ["app"]  # without lost+found


def test_a_volume_with_a_quota_has_that_size(pool: Pool) -> None:
    pool.release()
    pool.storage.create_volume("web", LOG.model_copy(update={"quota_bytes": 1 << 30}), RELEASE)
    assert pool.lv("volumes/web/log").size_bytes == 1 << 30


def test_a_release_is_taken_of_a_clean_file_system(pool: Pool) -> None:
    head = pool.head()
    assert not Path(head, "lost+found").exists()
    top = topmost(mounted(pool.host), str(head))
    assert top is not None
    assert top.read_only, "packages are read from it until the release is taken"
    pool.storage.take_release(RELEASE, HEAD)
    assert not pool.lv(f"releases/{RELEASE}").dirty
    assert topmost(mounted(pool.host), str(head)) is None
    assert not head.parent.exists()


def test_a_template_that_something_still_writes_to_is_not_finished(pool: Pool) -> None:
    pool.storage.begin_template("debian", HEAD, None)
    pool.host.busy.add(pool.storage.template_path("debian", HEAD))
    with pytest.raises(DriverError, match="busy"):
        pool.storage.finish_template("debian", HEAD)
    assert pool.storage.template_presence("debian", HEAD) is Presence.PARTIAL


def test_a_data_snapshot_of_a_mounted_volume_can_be_read_although_its_journal_is_not_empty(pool: Pool) -> None:
    pool.jail()
    pool.storage.snapshot_volumes("web", ["log"], TX)
    kept = pool.lv(f"snapshots/web/{TX}/log")
    assert kept.dirty
    kept.active = True
    there = Path(pool.spec.path, "look")
    LinuxMounts(pool.host).mount(Source("device", f"/dev/vg/{kept.name}"), str(there))
    assert (there / "app").read_text() == f"log of {HEAD}"


def test_a_head_on_a_base_is_a_writable_snapshot_that_goes_its_own_way(pool: Pool) -> None:
    pool.release()
    pool.storage.begin_template("debian", NEXT, HEAD)
    root = Path(pool.storage.template_path("debian", NEXT))
    (root / "var/log/app").write_text("next")
    pool.storage.finish_template("debian", NEXT)
    pool.storage.take_release(f"debian@{NEXT}", NEXT)
    assert (pool.lv(f"releases/{RELEASE}").content / "var/log/app").read_text() == f"log of {HEAD}"
    assert (pool.lv(f"releases/debian@{NEXT}").content / "var/log/app").read_text() == "next"


def test_two_releases_of_one_file_system_are_mounted_at_the_same_time(pool: Pool) -> None:
    """All snapshots of one XFS have one UUID."""
    pool.release()
    pool.storage.take_release(f"debian@{NEXT}", HEAD)
    mounts = LinuxMounts(pool.host)
    for release in (RELEASE, f"debian@{NEXT}"):
        source, path = pool.storage.root_source(release), f"{pool.spec.path}/jails/{release}"
        mounts.mount(source, path)
        assert mounts.holds(path, source)
    assert not mounts.holds(f"{pool.spec.path}/jails/{RELEASE}", pool.storage.root_source(f"debian@{NEXT}"))


# --- names ------------------------------------------------------------------------------------------------------------


def test_names_are_different_for_different_things_and_fit_for_lvm() -> None:
    keys = ["a_b", "a+b", "a.b", "a-b", "a_tdata", "a_", "x" * 32, "a--b"]
    names = {name_of("vg", f"templates/{key}/{HEAD}") for key in keys if "+" not in key}
    assert len(names) == len(keys) - 1
    assert not any("_" in name or "@" in name for name in names)
    long = [name_of("vg" * 20, f"snapshots/{'a-' * 15}/{TX}/{volume * 30}") for volume in ("b", "c")]
    assert long[0] != long[1]
    assert all(len(name) < 70 for name in long)


def test_things_with_the_longest_names_and_an_underscore_are_made_found_and_destroyed(tmp_path: Path) -> None:
    pool = make(tmp_path)
    pool.storage.create_pool(pool.spec)
    template = "a-" * 15 + "_t"
    pool.storage.begin_template(template, HEAD, None)
    pool.storage.finish_template(template, HEAD)
    pool.storage.take_release(f"{template}@{TX}", HEAD)
    assert pool.storage.templates() == ((template, HEAD),)
    assert pool.storage.releases() == (f"{template}@{TX}",)
    pool.storage.destroy_release(f"{template}@{TX}")
    pool.storage.destroy_template(template, HEAD)
    assert pool.lvm.volumes == {}


# --- after a reboot ---------------------------------------------------------------------------------------------------


def test_after_a_reboot_everything_is_activated_and_the_volumes_are_mounted_but_not_the_snapshots(pool: Pool) -> None:
    pool.jail()
    pool.storage.snapshot_volumes("web", ["log"], TX)
    (Path(pool.storage.volume_path("web", "log")) / "app").write_text("written")
    pool.host.reboot()
    assert pool.storage.pool_mounted(pool.spec) is Presence.ABSENT
    assert pool.storage.pool_presence(pool.spec) is Presence.PARTIAL
    pool.storage.mount_pool(pool.spec)
    assert pool.storage.pool_presence(pool.spec) is Presence.PRESENT
    assert (Path(pool.storage.volume_path("web", "log")) / "app").read_text() == "written"
    assert pool.lv(f"releases/{RELEASE}").active
    assert not pool.lv(f"snapshots/web/{TX}/log").active


def test_what_is_marked_to_be_skipped_is_activated_nevertheless(pool: Pool) -> None:
    pool.release()
    pool.lv(f"releases/{RELEASE}").skip = True
    pool.host.reboot()
    pool.storage.mount_pool(pool.spec)
    assert pool.lv(f"releases/{RELEASE}").active


def test_a_volume_that_was_unmounted_by_hand_makes_the_pool_partial_until_it_is_mounted_again(pool: Pool) -> None:
    pool.jail()
    pool.host.take_away(next(one for one in pool.host.table if one.path.endswith("log/root")))
    assert pool.storage.pool_presence(pool.spec) is Presence.PARTIAL
    pool.storage.mount_pool(pool.spec)
    assert pool.storage.pool_presence(pool.spec) is Presence.PRESENT


# --- fingerprints -----------------------------------------------------------------------------------------------------


def test_a_release_that_was_made_writable_and_mounted_is_found_out(pool: Pool) -> None:
    pool.release()
    evidence = pool.storage.fingerprint(RELEASE)
    release = pool.lv(f"releases/{RELEASE}")
    release.permission = "w"
    assert pool.storage.release_presence(RELEASE) is Presence.PARTIAL
    release.mounts += 1  # the superblock tells
    release.permission = "r"
    assert pool.storage.release_presence(RELEASE) is Presence.PRESENT
    assert pool.storage.fingerprint(RELEASE) != evidence


# --- room -------------------------------------------------------------------------------------------------------------


def test_room_is_counted_in_data_and_in_metadata_and_a_queueing_pool_is_cautioned_against(pool: Pool) -> None:
    pool.lvm.data_percent, pool.lvm.metadata_percent = 25.0, 81.0
    space = pool.storage.space()
    assert (space.size_bytes, space.data_free_bytes) == (64 << 30, 48 << 30)
    assert space.metadata_free_bytes is not None
    assert space.metadata_free_bytes < space.metadata_reserve_bytes
    assert space.caution is not None
    assert "writes wait" in space.caution
    pool.lvm.metadata_percent, pool.lvm.when_full = 79.0, "error"
    space = pool.storage.space()
    assert space.metadata_free_bytes is not None
    assert space.metadata_free_bytes > space.metadata_reserve_bytes
    assert space.caution is None


@pytest.mark.parametrize("health", ["out_of_data", "metadata_read_only", "failed"])
def test_a_thin_pool_in_an_error_state_is_refused_before_anything_begins(pool: Pool, health: str) -> None:
    pool.release()
    pool.lvm.health = health
    for ask in (lambda: pool.storage.pool_presence(pool.spec), pool.storage.space):
        with pytest.raises(DriverError, match=f"cannot use thin pool vg/pool: it is {health}"):
            ask()


def test_full_metadata_lets_no_snapshot_be_taken_and_nothing_is_left_of_the_try(pool: Pool) -> None:
    pool.jail()
    pool.lvm.metadata_percent = 100.0
    before = set(pool.lvm.volumes)
    for change in (
        lambda: pool.storage.snapshot_volumes("web", ["log", "home"], TX),
        lambda: pool.storage.take_release(f"debian@{NEXT}", HEAD),
        lambda: pool.storage.begin_template("debian", NEXT, HEAD),
    ):
        with pytest.raises(DriverError, match="reached threshold"):
            change()
    pool.storage.set_snapshot_aside("web", ["log", "home"], TX)
    assert set(pool.lvm.volumes) == before
    assert pool.storage.snapshot_presence("web", ["log", "home"], TX) is Presence.ABSENT


# --- bad worlds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("thin_pool", ["gone/pool", "vg/gone"])
def test_a_group_or_a_thin_pool_that_is_missing_is_told_in_one_sentence(tmp_path: Path, thin_pool: str) -> None:
    pool = make(tmp_path)
    spec = pool.spec.model_copy(update={"thin_pool": thin_pool})
    storage = LvmStorage(pool.host, spec, NewVolumes())
    for ask in (storage.create_pool, storage.pool_presence, storage.pool_mounted, storage.mount_pool):
        with pytest.raises(DriverError, match=f"cannot use thin pool {thin_pool}: ") as caught:
            ask(spec)
        assert "\n" not in caught.value.message
        assert caught.value.remedy


def test_a_logical_volume_that_is_no_thin_pool_is_not_taken_for_one(tmp_path: Path) -> None:
    pool = make(tmp_path)
    pool.lvm.plant("data")
    spec = pool.spec.model_copy(update={"thin_pool": "vg/data"})
    with pytest.raises(DriverError, match="there is none"):
        LvmStorage(pool.host, spec, NewVolumes()).create_pool(spec)
    assert pool.lvm.volumes["data"].tags == {"theirs"}


def test_lvs_that_hangs_is_given_up_and_nothing_is_done(pool: Pool) -> None:
    pool.release()
    before = len(pool.host.commands)
    pool.host.hangs.add("lvs")
    for act in (
        lambda: pool.storage.pool_presence(pool.spec),
        lambda: pool.storage.take_release(f"debian@{NEXT}", HEAD),
        lambda: pool.storage.destroy_release(RELEASE),
    ):
        with pytest.raises(ToolTimedOut):
            act()
    assert len(pool.host.commands) == before


def test_a_command_that_hangs_after_it_did_its_work_is_found_done_or_undone(pool: Pool) -> None:
    pool.release()
    pool.host.hangs.add("lvchange")
    with pytest.raises(ToolTimedOut):
        pool.storage.take_release(f"debian@{NEXT}", HEAD)
    assert pool.storage.release_presence(f"debian@{NEXT}") is Presence.PARTIAL
    pool.host.hangs.clear()
    pool.storage.destroy_release(f"debian@{NEXT}")
    assert pool.storage.releases() == (RELEASE,)


def test_a_volume_with_our_name_but_without_our_tag_is_never_removed_mounted_or_written(pool: Pool) -> None:
    pool.release()
    name = name_of("vg", "volumes/web/log")
    pool.lvm.plant(name)
    before = len(pool.host.commands)
    for act in (
        lambda: pool.storage.create_volume("web", LOG, RELEASE),
        lambda: pool.storage.destroy_volume("web", "log"),
    ):
        with pytest.raises(Foreign, match=f"cannot destroy /dev/vg/{name.replace('+', '.')}: it is not ours"):
            act()
    assert {command.split()[0] for command in pool.host.commands[before:]} == {"lvs"}
    assert pool.lvm.volumes[name].tags == {"theirs"}
    assert pool.storage.volumes("web") == ()


def test_tags_that_say_something_else_make_it_foreign(pool: Pool) -> None:
    pool.release()
    release = pool.lv(f"releases/{RELEASE}")
    release.tags = {"rootswap", "rootswap.marks=volumes/web/log", "rootswap.state=built"}
    assert pool.storage.release_presence(RELEASE) is Presence.FOREIGN
    release.tags = {"rootswap.marks=releases/debian/cccccccc", "rootswap.state=built"}
    assert pool.storage.release_presence(RELEASE) is Presence.FOREIGN


def test_a_release_in_use_is_neither_destroyed_nor_retired_and_the_sentence_says_where(pool: Pool) -> None:
    pool.release()
    path = f"{pool.spec.path}/jail"
    LinuxMounts(pool.host).mount(pool.storage.root_source(RELEASE), path)
    for act in (lambda: pool.storage.destroy_release(RELEASE), lambda: pool.storage.retire_release(RELEASE, TRASH)):
        with pytest.raises(DriverError, match=f"it is mounted at {path}"):
            act()
    assert pool.storage.release_presence(RELEASE) is Presence.PRESENT


def test_a_device_that_is_held_open_without_a_mount_is_told_as_in_use(pool: Pool) -> None:
    pool.release()
    pool.lv(f"releases/{RELEASE}").open = 1
    with pytest.raises(DriverError, match="it is in use"):
        pool.storage.destroy_release(RELEASE)


def test_a_release_that_was_removed_behind_our_back_is_absent_and_cannot_be_mounted(pool: Pool) -> None:
    pool.release()
    del pool.lvm.volumes[name_of("vg", f"releases/{RELEASE}")]
    assert pool.storage.release_presence(RELEASE) is Presence.ABSENT
    with pytest.raises(DriverError, match="it is not there"):
        pool.storage.fingerprint(RELEASE)
    with pytest.raises(DriverError, match="no such device"):
        LinuxMounts(pool.host).mount(pool.storage.root_source(RELEASE), f"{pool.spec.path}/jail")


@pytest.mark.parametrize("what", ["mount", "file"])
def test_a_mount_point_that_is_occupied_is_left_as_it_is(pool: Pool, what: str) -> None:
    pool.jail()
    pool.host.reboot()
    path = pool.storage.volume_path("web", "log")
    os.makedirs(path, exist_ok=True)
    if what == "mount":
        pool.host.table.append(Mounted(path, None, True))
    else:
        Path(path, "precious").write_text("x")
    with pytest.raises(Foreign, match=f"cannot mount /dev/vg/.* at {path}: .* is there"):
        pool.storage.mount_pool(pool.spec)
    assert pool.storage.pool_presence(pool.spec) is Presence.PARTIAL
    assert what == "mount" or Path(path, "precious").read_text() == "x"


def test_a_mount_stacked_upon_a_volume_is_noticed(pool: Pool) -> None:
    pool.jail()
    pool.host.table.append(Mounted(pool.storage.volume_path("web", "log"), None, True))
    assert pool.storage.pool_presence(pool.spec) is Presence.PARTIAL


def test_a_thin_pool_that_another_rootswap_uses_is_foreign(pool: Pool) -> None:
    spec = pool.spec.model_copy(update={"path": f"{pool.spec.path}-of-another"})
    other = LvmStorage(pool.host, spec, NewVolumes())
    assert other.pool_presence(spec) is Presence.FOREIGN
    for act in (other.create_pool, other.destroy_pool, other.mount_pool):
        with pytest.raises(Foreign, match="another rootswap uses it"):
            act(spec)
    assert len(pool.lvm.pool_tags) == 1


def test_other_volumes_in_the_group_are_none_of_our_business(pool: Pool) -> None:
    pool.lvm.plant("theirs")
    pool.jail()
    pool.storage.unmount_pool(pool.spec)
    assert pool.lvm.volumes["theirs"].active
    pool.storage.mount_pool(pool.spec)
    assert not any("theirs" in command for command in pool.host.commands)


# --- setting aside ----------------------------------------------------------------------------------------------------


def test_a_snapshot_of_which_only_some_volumes_were_renamed_is_set_aside_whole(pool: Pool) -> None:
    pool.jail()
    pool.storage.snapshot_volumes("web", ["home", "log"], TX)
    pool.lvm.lvrename(["vg", name_of("vg", f"snapshots/web/{TX}/home"), name_of("vg", f"unwound/web/{TX}/home")])
    assert pool.storage.snapshot_presence("web", ["home", "log"], TX) is Presence.PARTIAL
    pool.storage.set_snapshot_aside("web", ["home", "log"], TX)
    (kept,) = pool.storage.snapshots("web")
    assert (kept.volumes, kept.unwound) == (("home", "log"), True)
    assert kept.path == f"/dev/vg/rootswap+unwound+web+{TX}+*"


# --- what lvs prints --------------------------------------------------------------------------------------------------

#: As LVM 2.03.16 prints it (without a device mapper: so the X in lv_attr), but for the columns that were not asked for.
REPORT = """
  {
      "report": [
          {
              "lv": [
                  {"lv_name":"pool", "pool_lv":"", "lv_tags":"", "lv_attr":"twi-XXtz--", "lv_uuid":"abcdef",
                   "lv_size":"419430400", "lv_metadata_size":"8388608", "data_percent":"", "metadata_percent":"",
                   "lv_health_status":"", "lv_when_full":"queue"},
                  {"lv_name":"t1", "pool_lv":"",
                   "lv_tags":"rootswap,rootswap.marks=templates/debian/aaaaaaaa,rootswap.state=building",
                   "lv_attr":"-wi-XX----", "lv_uuid":"F49a0n", "lv_size":"8388608", "lv_metadata_size":"",
                   "data_percent":"", "metadata_percent":"", "lv_health_status":"", "lv_when_full":""}
              ]
          }
      ]
  }
"""


def test_the_report_of_lvs_is_read() -> None:
    pool, volume = parse_report(REPORT)
    assert (pool.is_thin_pool, pool.size_bytes, pool.metadata_size_bytes) == (True, 419430400, 8388608)
    assert (pool.data_percent, pool.is_active, pool.when_full) == (None, False, "queue")
    assert (volume.is_thin_pool, volume.is_read_only, volume.told("rootswap.state=")) == (False, False, "building")


def test_the_fake_prints_the_columns_that_the_real_one_prints(tmp_path: Path) -> None:
    pool = make(tmp_path)
    pool.lvm.plant("theirs")
    (report,) = json.loads(pool.lvm.lvs([]))["report"]
    real = json.loads(REPORT)["report"][0]["lv"][0]
    assert [list(row) for row in report["lv"]] == [list(real)] * 2


@pytest.mark.parametrize("output", ["", "{}", '{"report": [{"lv": [{}]}]}', '{"report": [{"lv": [{"lv_name": 3}]}]}'])
def test_a_report_that_is_not_understood_is_an_error_not_a_guess(output: str) -> None:
    with pytest.raises(DriverError, match="something unknown"):
        parse_report(output)
