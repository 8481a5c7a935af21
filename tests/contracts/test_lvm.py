"""The LVM driver on a fake that is modelled on the manuals: what LVM has and others have not."""

import json
import os
from pathlib import Path

import pytest

from commands.drivers.base import Presence, Source
from commands.drivers.lvm_report import name_of, parse_report
from commands.drivers.mounts import LinuxMounts, mounted, topmost
from commands.errors import DriverError
from tests.fakes.lvm_pool import HEAD, LOG, NEXT, RELEASE, TX, FakePool, make_pool

# --- how things are made ----------------------------------------------------------------------------------------------


def test_what_is_made_is_ours_from_the_very_command_that_makes_it(thin: FakePool) -> None:
    thin.jail()
    thin.storage.snapshot_volumes("web", ["log", "home"], TX)
    for command in thin.ran("lvcreate"):
        assert "--addtag rootswap " in command
        assert "rootswap.marks=" in command
        assert "rootswap.state=" in command


def test_every_change_is_flushed_out_of_the_cache_of_each_disk_before_anything_else_is_done(thin: FakePool) -> None:
    """LVM does not do it: a power cut that followed was seen to cost the whole volume group."""
    thin.jail()
    thin.storage.snapshot_volumes("web", ["log", "home"], TX)
    ran = [command for command in thin.host.commands if not command.startswith("vgs")]
    changes = [at for at, command in enumerate(ran) if command.split()[0] in ("lvcreate", "lvchange", "lvrename")]
    assert len(changes) > 10
    assert {ran[at + 1] for at in changes} == {f"sync -- {' '.join(thin.lvm.disks)}"}


def test_snapshots_have_no_size_and_releases_are_read_only_and_not_skipped(thin: FakePool) -> None:
    thin.jail()
    thin.storage.snapshot_volumes("web", ["log"], TX)
    snapshots = [command for command in thin.ran("lvcreate") if " -s " in command]
    assert len(snapshots) == 2
    assert not any("-L" in command.split() or "-V" in command.split() for command in snapshots)
    release, kept = thin.lv(f"releases/{RELEASE}"), thin.lv(f"snapshots/web/{TX}/log")
    assert (release.permission, release.skip, release.active) == ("r", False, True)
    assert (kept.permission, kept.skip, kept.active) == ("r", True, False)
    assert thin.storage.root_source(RELEASE).what == "/dev/vg/rootswap+releases+debian+cccccccc"


def test_new_file_systems_have_the_kind_and_size_that_are_configured(thin: FakePool) -> None:
    thin.jail()
    head, log = thin.lv(f"templates/debian/{HEAD}"), thin.lv("volumes/web/log")
    assert (head.size_bytes, log.size_bytes) == (4 << 30, 2 << 30)
    assert head.kind == log.kind in ("ext4", "xfs")
    assert os.listdir(thin.storage.volume_path("web", "log")) == ["app"]  # without lost+found


def test_a_volume_with_a_quota_has_that_size(thin: FakePool) -> None:
    thin.release()
    thin.storage.create_volume("web", LOG.model_copy(update={"quota_bytes": 1 << 30}), RELEASE)
    assert thin.lv("volumes/web/log").size_bytes == 1 << 30


def test_a_release_is_taken_of_a_clean_file_system(thin: FakePool) -> None:
    head = thin.head()
    assert not Path(head, "lost+found").exists()
    top = topmost(mounted(thin.host), str(head))
    assert top is not None
    assert top.read_only, "packages are read from it until the release is taken"
    thin.storage.take_release(RELEASE, HEAD)
    assert not thin.lv(f"releases/{RELEASE}").dirty
    assert topmost(mounted(thin.host), str(head)) is None
    assert not head.parent.exists()


def test_a_template_that_something_still_writes_to_is_not_finished(thin: FakePool) -> None:
    thin.storage.begin_template("debian", HEAD, None)
    thin.host.busy.add(thin.storage.template_path("debian", HEAD))
    with pytest.raises(DriverError, match="busy"):
        thin.storage.finish_template("debian", HEAD)
    assert thin.storage.template_presence("debian", HEAD) is Presence.PARTIAL


def test_a_data_snapshot_of_a_mounted_volume_can_be_read_although_its_journal_is_not_empty(thin: FakePool) -> None:
    thin.jail()
    thin.storage.snapshot_volumes("web", ["log"], TX)
    kept = thin.lv(f"snapshots/web/{TX}/log")
    assert kept.dirty
    kept.active = True
    there = Path(thin.spec.path, "look")
    LinuxMounts(thin.host).mount(Source("device", f"/dev/vg/{kept.name}"), str(there))
    assert (there / "app").read_text() == f"log of {HEAD}"


def test_a_head_on_a_base_is_a_writable_snapshot_that_goes_its_own_way(thin: FakePool) -> None:
    thin.release()
    thin.storage.begin_template("debian", NEXT, HEAD)
    root = Path(thin.storage.template_path("debian", NEXT))
    (root / "var/log/app").write_text("next")
    thin.storage.finish_template("debian", NEXT)
    thin.storage.take_release(f"debian@{NEXT}", NEXT)
    assert (thin.lv(f"releases/{RELEASE}").content / "var/log/app").read_text() == f"log of {HEAD}"
    assert (thin.lv(f"releases/debian@{NEXT}").content / "var/log/app").read_text() == "next"


def test_two_releases_of_one_file_system_are_mounted_at_the_same_time(thin: FakePool) -> None:
    """All snapshots of one XFS have one UUID."""
    thin.release()
    thin.storage.take_release(f"debian@{NEXT}", HEAD)
    mounts = LinuxMounts(thin.host)
    for release in (RELEASE, f"debian@{NEXT}"):
        source, path = thin.storage.root_source(release), f"{thin.spec.path}/jails/{release}"
        mounts.mount(source, path)
        assert mounts.holds(path, source)
    assert not mounts.holds(f"{thin.spec.path}/jails/{RELEASE}", thin.storage.root_source(f"debian@{NEXT}"))


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
    pool = make_pool(tmp_path)
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


def test_after_a_reboot_everything_is_activated_and_the_volumes_are_mounted_but_not_the_snapshots(
    thin: FakePool,
) -> None:
    thin.jail()
    thin.storage.snapshot_volumes("web", ["log"], TX)
    (Path(thin.storage.volume_path("web", "log")) / "app").write_text("written")
    thin.host.reboot()
    assert thin.storage.pool_mounted(thin.spec) is Presence.ABSENT
    assert thin.storage.pool_presence(thin.spec) is Presence.PARTIAL
    thin.storage.mount_pool(thin.spec)
    assert thin.storage.pool_presence(thin.spec) is Presence.PRESENT
    assert (Path(thin.storage.volume_path("web", "log")) / "app").read_text() == "written"
    assert thin.lv(f"releases/{RELEASE}").active
    assert not thin.lv(f"snapshots/web/{TX}/log").active


def test_what_is_marked_to_be_skipped_is_activated_nevertheless(thin: FakePool) -> None:
    thin.release()
    thin.lv(f"releases/{RELEASE}").skip = True
    thin.host.reboot()
    thin.storage.mount_pool(thin.spec)
    assert thin.lv(f"releases/{RELEASE}").active


def test_a_volume_that_was_unmounted_by_hand_makes_the_pool_partial_until_it_is_mounted_again(thin: FakePool) -> None:
    thin.jail()
    thin.host.take_away(next(one for one in thin.host.table if one.path.endswith("log/root")))
    assert thin.storage.pool_presence(thin.spec) is Presence.PARTIAL
    thin.storage.mount_pool(thin.spec)
    assert thin.storage.pool_presence(thin.spec) is Presence.PRESENT


# --- fingerprints -----------------------------------------------------------------------------------------------------


def test_a_release_that_was_made_writable_and_mounted_is_found_out(thin: FakePool) -> None:
    thin.release()
    evidence = thin.storage.fingerprint(RELEASE)
    release = thin.lv(f"releases/{RELEASE}")
    release.permission = "w"
    assert thin.storage.release_presence(RELEASE) is Presence.PARTIAL
    release.mounts += 1  # the superblock tells
    release.permission = "r"
    assert thin.storage.release_presence(RELEASE) is Presence.PRESENT
    assert thin.storage.fingerprint(RELEASE) != evidence


# --- setting aside ----------------------------------------------------------------------------------------------------


def test_a_snapshot_of_which_only_some_volumes_were_renamed_is_set_aside_whole(thin: FakePool) -> None:
    thin.jail()
    thin.storage.snapshot_volumes("web", ["home", "log"], TX)
    thin.lvm.lvrename(["vg", name_of("vg", f"snapshots/web/{TX}/home"), name_of("vg", f"unwound/web/{TX}/home")])
    assert thin.storage.snapshot_presence("web", ["home", "log"], TX) is Presence.PARTIAL
    thin.storage.set_snapshot_aside("web", ["home", "log"], TX)
    (kept,) = thin.storage.snapshots("web")
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
    pool = make_pool(tmp_path)
    pool.lvm.plant("theirs")
    (report,) = json.loads(pool.lvm.lvs([]))["report"]
    real = json.loads(REPORT)["report"][0]["lv"][0]
    assert [list(row) for row in report["lv"]] == [list(real)] * 2


@pytest.mark.parametrize("output", ["", "{}", '{"report": [{"lv": [{}]}]}', '{"report": [{"lv": [{"lv_name": 3}]}]}'])
def test_a_report_that_is_not_understood_is_an_error_not_a_guess(output: str) -> None:
    with pytest.raises(DriverError, match="something unknown"):
        parse_report(output)
