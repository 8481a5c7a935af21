"""The ZFS driver beyond the contract, on FreeBSD's tools and on Linux's: what it costs, promotes and sees."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commands.drivers.base import Presence, Source, Volume
from commands.drivers.zfs_text import other_complaints, parsed_get, parsed_tags, parsed_values
from commands.errors import DriverError
from tests.fakes.test_captures import captures
from tests.fakes.tools import run
from tests.fakes.tree import Blob
from tests.fakes.world import MIB
from tests.fakes.zfs_pool import HOME, PATH, FakePool, fake_pool

HEAD, NEXT, LAST, TX, NEW = "aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd", "eeeeeeee"
RELEASE, NEWER = f"debian@{TX}", f"debian@{NEW}"
LOG, HOME_VOLUME = Volume(name="log", path="/var/log/nginx"), Volume(name="home", path="/home")
CLONE = f"{HOME}/releases/debian:{TX}"


@pytest.fixture(params=["freebsd", "linux"])
def on(request: pytest.FixtureRequest) -> Iterator[FakePool]:
    with fake_pool(request.param) as pool:
        pool.build("debian", HEAD)
        pool.storage.take_release(RELEASE, HEAD)
        pool.changes()
        yield pool


# --- what a step costs: each change waits for a transaction group -----------------------------------------------------


def test_the_data_of_a_jail_is_kept_by_one_command_and_no_other(on: FakePool) -> None:
    on.storage.create_volume("web", LOG, RELEASE)
    on.storage.create_volume("web", HOME_VOLUME, RELEASE)
    on.host.ran.clear()
    on.storage.snapshot_volumes("web", ["home", "log"], NEW)
    (argv,) = on.host.ran
    assert argv[:2] == ("zfs", "snapshot")
    assert [word for word in argv if "@" in word] == [f"{HOME}/volumes/web:{one}@{NEW}" for one in ("home", "log")]
    on.changes()
    on.storage.set_snapshot_aside("web", ["home", "log"], NEW)
    assert len(on.changes()) == 1


@pytest.mark.parametrize(
    ("act", "verbs"),
    [
        (lambda pool: pool.storage.begin_template("debian", NEXT, None), ["create"]),
        (lambda pool: pool.storage.begin_template("debian", NEXT, HEAD), ["snapshot", "clone"]),
        (lambda pool: pool.storage.take_release(NEWER, HEAD), ["snapshot", "hold", "clone"]),
        (lambda pool: pool.storage.retire_release(RELEASE, NEW), ["set"]),
        (lambda pool: pool.storage.destroy_release(RELEASE), ["destroy", "release", "destroy"]),
        (lambda pool: pool.storage.destroy_template("debian", HEAD), ["promote", "destroy"]),
        (lambda pool: pool.storage.create_volume("web", LOG, RELEASE), ["create", "set"]),
    ],
    ids=["begin", "begin on a base", "take", "retire", "destroy release", "destroy template", "volume"],
)
def test_a_step_waits_for_no_more_changes_than_it_needs(
    on: FakePool, act: Callable[[FakePool], None], verbs: list[str]
) -> None:
    act(on)
    assert [command.split()[1] for command in on.changes()] == verbs


def test_a_root_costs_no_change_at_all(on: FakePool) -> None:
    source = on.storage.root_source(RELEASE)
    on.world.make_directory("/rs/jails/web/root")
    on.mounts.mount(source, "/rs/jails/web/root")
    assert on.mounts.holds("/rs/jails/web/root", source)
    assert on.changes() == []


# --- many jails on one release ----------------------------------------------------------------------------------------


def test_two_jails_run_on_one_release_and_it_cannot_go_from_under_them(on: FakePool) -> None:
    source = on.storage.root_source(RELEASE)
    for jail in ("web", "mail"):
        on.mounts.mount(source, f"/rs/jails/{jail}/root")
        assert on.world.find(f"/rs/jails/{jail}/root/home/file") is not None
    before = on.world.picture()
    for act in (on.storage.destroy_release, lambda release: on.storage.retire_release(release, NEW)):
        with pytest.raises(DriverError, match=r"it is mounted at /rs/jails/"):
            act(RELEASE)
    assert on.world.picture() == before
    assert set(on.mounts.places(Source("zfs", CLONE))) == {
        f"{PATH}/releases/debian:{TX}", "/rs/jails/web/root", "/rs/jails/mail/root",
    }  # fmt: skip


def test_a_hold_of_somebody_else_is_named_before_anything_is_touched(on: FakePool) -> None:
    snapshot = f"{HOME}/templates/debian:{HEAD}@{TX}"
    on.zfs("hold", "backup", snapshot)
    before = on.world.picture()
    with pytest.raises(DriverError, match=f"cannot destroy {snapshot}: somebody else holds it as 'backup'"):
        on.storage.destroy_release(RELEASE)
    assert on.world.picture() == before
    on.zfs("release", "backup", snapshot)
    on.storage.destroy_release(RELEASE)
    assert on.storage.release_presence(RELEASE) is Presence.ABSENT


def test_a_release_cannot_be_written_by_whoever_mounts_it(on: FakePool) -> None:
    root = on.storage.root_source(RELEASE).what
    assert on.world.walk(root)[0].read_only
    on.mounts.mount(on.storage.root_source(RELEASE), "/rs/stage")
    assert on.world.walk("/rs/stage")[0].read_only


# --- clones and promotions --------------------------------------------------------------------------------------------


def test_upgrades_make_no_chain_of_clones_and_old_releases_give_their_space_back(on: FakePool) -> None:
    heads, release = [HEAD], RELEASE
    for number, head in enumerate((NEXT, LAST, "ffffffff")):
        on.storage.begin_template("debian", head, heads[-1])
        root = on.storage.template_path("debian", head)
        on.world.write(f"{root}/big", Blob(b"", 8 * MIB))
        on.storage.finish_template("debian", head)
        on.storage.take_release(f"debian@{number:08d}", head)
        on.storage.destroy_template("debian", heads[-1])
        on.storage.destroy_release(release)
        heads, release = [*heads, head], f"debian@{number:08d}"
    datasets = on.zfs("list", "-Hp", "-o", "name", "-t", "all", "-r", HOME).split()
    assert datasets == [
        HOME, f"{HOME}/releases", f"{HOME}/releases/debian:00000002",
        f"{HOME}/templates", f"{HOME}/templates/debian:ffffffff", f"{HOME}/templates/debian:ffffffff@00000002",
        f"{HOME}/volumes",
    ]  # fmt: skip
    assert on.storage.templates() == (("debian", "ffffffff"),)
    assert int(on.zfs("get", "-Hp", "-o", "value", "used", "tank")) < 10 * MIB


def test_a_release_keeps_its_evidence_when_its_snapshot_moves_to_another_data_set(on: FakePool) -> None:
    evidence = on.storage.fingerprint(RELEASE)
    on.build("debian", NEXT, base=HEAD)
    on.storage.take_release(NEWER, NEXT)
    on.storage.destroy_template("debian", HEAD)
    assert f"{HOME}/templates/debian:{NEXT}@{TX}" in on.zfs("list", "-Hp", "-o", "name", "-t", "snapshot", "-r", HOME)
    assert on.storage.fingerprint(RELEASE) == evidence
    assert on.storage.release_presence(RELEASE) is Presence.PRESENT
    for release in (RELEASE, NEWER):
        on.storage.destroy_release(release)
        assert on.storage.release_presence(release) is Presence.ABSENT
    assert on.storage.template_presence("debian", NEXT) is Presence.PRESENT


def test_two_releases_outlive_their_only_head_and_go_in_either_order(on: FakePool) -> None:
    on.storage.take_release(NEWER, HEAD)
    on.storage.destroy_template("debian", HEAD)
    assert on.storage.templates() == ()
    assert on.storage.releases() == (RELEASE, NEWER)
    for release in (NEWER, RELEASE):
        assert on.storage.release_presence(release) is Presence.PRESENT
        on.storage.destroy_release(release)
    assert on.zfs("list", "-Hp", "-o", "name", "-t", "all", "-r", f"{HOME}/releases").split() == [f"{HOME}/releases"]


def test_a_head_on_a_base_begins_as_the_base_is_and_leaves_no_trace_when_it_goes(on: FakePool) -> None:
    before = on.world.picture()
    on.storage.begin_template("debian", NEXT, HEAD)
    assert on.world.find(f"{on.storage.template_path('debian', NEXT)}/home/file") is not None
    on.storage.destroy_template("debian", NEXT)
    assert {key: told for key, told in on.world.picture().items() if key != f"content {HOME}"} == {
        key: told for key, told in before.items() if key != f"content {HOME}"
    }


def test_heads_that_stem_from_one_base_outlive_it_whichever_goes_first(on: FakePool) -> None:
    on.build("debian", NEXT, base=HEAD)
    on.build("debian", LAST, base=HEAD)
    on.storage.destroy_template("debian", HEAD)
    assert on.storage.templates() == (("debian", NEXT), ("debian", LAST))
    assert on.storage.release_presence(RELEASE) is Presence.PRESENT
    on.storage.destroy_template("debian", LAST)
    assert on.storage.template_presence("debian", NEXT) is Presence.PRESENT
    on.storage.destroy_release(RELEASE)
    on.storage.destroy_template("debian", NEXT)
    on.storage.destroy_pool(on.spec)
    assert on.storage.pool_presence(on.spec) is Presence.ABSENT


# --- evidence ---------------------------------------------------------------------------------------------------------


def test_a_release_that_was_written_to_is_told_by_its_fingerprint(on: FakePool) -> None:
    evidence = on.storage.fingerprint(RELEASE)
    on.zfs("set", "readonly=off", CLONE)
    assert on.storage.release_presence(RELEASE) is Presence.PARTIAL
    on.world.write(f"{on.storage.root_source(RELEASE).what}/home/file", b"evil")
    on.zfs("set", "readonly=on", CLONE)
    assert on.storage.release_presence(RELEASE) is Presence.PRESENT
    assert on.storage.fingerprint(RELEASE) != evidence


def test_the_transaction_that_took_a_release_stands_on_its_snapshot_which_is_held(on: FakePool) -> None:
    snapshot = f"{HOME}/templates/debian:{HEAD}@{TX}"
    assert on.zfs("get", "-Hp", "-o", "value,source", "rootswap:transaction", snapshot) == f"{TX}\tlocal\n"
    assert [line.split("\t")[:2] for line in on.zfs("holds", "-H", snapshot).splitlines()] == [[snapshot, "rootswap"]]


def test_a_mark_that_is_inherited_or_of_another_thing_is_none(on: FakePool) -> None:
    on.zfs("create", "-o", "canmount=noauto", f"{CLONE}/below")
    on.zfs("rename", CLONE, f"{HOME}/releases/debian:{NEW}")
    assert on.storage.release_presence(NEWER) is Presence.FOREIGN
    on.zfs("rename", f"{HOME}/releases/debian:{NEW}/below", f"{HOME}/volumes/web:log")
    assert on.storage.volume_presence("web", "log") is Presence.FOREIGN
    assert on.storage.volumes("web") == ()


# --- volumes ----------------------------------------------------------------------------------------------------------


def test_a_volume_is_filled_as_the_release_has_it_owners_and_modes_too(on: FakePool) -> None:
    place = f"{on.storage.template_path('debian', HEAD)}/var/log/nginx"
    node = on.world.walk(place)[1]
    node.mode, node.uid = 0o750, 33
    on.storage.take_release(NEWER, HEAD)
    on.storage.create_volume("web", LOG, NEWER)
    made = on.world.walk(on.storage.volume_path("web", "log"))[1]
    assert (made.mode, made.uid, made.children["log"].blob.content) == (0o750, 33, f"log of {HEAD}".encode())


def test_a_quota_is_for_the_data_and_not_for_what_is_kept_of_it(on: FakePool) -> None:
    on.storage.create_volume("web", LOG.model_copy(update={"quota_bytes": 20 * MIB}), RELEASE)
    log = on.storage.volume_path("web", "log")
    assert on.zfs("get", "-Hp", "-o", "value", "refquota,quota", f"{HOME}/volumes/web:log").split() == [
        str(20 * MIB),
        "0",
    ]
    on.world.write(f"{log}/one", Blob(b"", 15 * MIB))
    on.storage.snapshot_volumes("web", ["log"], NEW)
    on.world.write(f"{log}/one", b"")
    on.world.write(f"{log}/one", Blob(b"", 18 * MIB))


def test_the_bytes_that_a_return_would_lose_are_told(on: FakePool) -> None:
    on.storage.create_volume("web", LOG, RELEASE)
    on.storage.create_volume("web", HOME_VOLUME, RELEASE)
    on.storage.snapshot_volumes("web", ["home", "log"], NEW)
    (untouched,) = on.storage.snapshots("web")
    assert untouched.written_bytes == 0
    on.world.write(f"{on.storage.volume_path('web', 'log')}/more", Blob(b"", 3 * MIB))
    (written,) = on.storage.snapshots("web")
    assert written.written_bytes is not None and written.written_bytes >= 3 * MIB


def test_a_volume_with_kept_data_is_not_destroyed(on: FakePool) -> None:
    on.storage.create_volume("web", LOG, RELEASE)
    on.storage.snapshot_volumes("web", ["log"], NEW)
    before = on.world.picture()
    with pytest.raises(DriverError, match=f"it holds snapshots/web/{NEW}"):
        on.storage.destroy_volume("web", "log")
    assert on.world.picture() == before


def test_a_volume_is_refused_before_anything_is_made_when_the_release_has_no_such_directory(on: FakePool) -> None:
    before = on.world.picture()
    for path, cause in (("/srv", "no such file"), ("/home/file", "not a directory")):
        with pytest.raises(DriverError, match=cause):
            on.storage.create_volume("web", Volume(name="data", path=path), RELEASE)
    assert on.world.picture() == before


# --- a reboot ---------------------------------------------------------------------------------------------------------


def test_nothing_of_ours_mounts_itself_at_a_boot_and_all_of_it_is_mounted_again(on: FakePool) -> None:
    on.storage.create_volume("web", LOG, RELEASE)
    on.storage.begin_template("debian", NEXT, HEAD)
    on.world.reboot()
    assert [mount.path for mount in on.world.state.mounts if mount.kind == "zfs"] == []
    assert on.storage.pool_mounted(on.spec) is Presence.ABSENT
    assert on.storage.pool_presence(on.spec) is Presence.PARTIAL
    on.storage.mount_pool(on.spec)
    assert on.storage.pool_mounted(on.spec) is Presence.PRESENT
    assert on.storage.release_presence(RELEASE) is Presence.PRESENT
    assert on.storage.volume_presence("web", "log") is Presence.PRESENT
    assert on.storage.template_presence("debian", NEXT) is Presence.PARTIAL


def test_what_is_not_mounted_is_not_whole(on: FakePool) -> None:
    on.storage.create_volume("web", LOG, RELEASE)
    for name in (f"templates/debian:{HEAD}", f"releases/debian:{TX}", "volumes/web:log"):
        on.zfs("unmount", f"{HOME}/{name}")
    assert on.storage.template_presence("debian", HEAD) is Presence.PARTIAL
    assert on.storage.release_presence(RELEASE) is Presence.PARTIAL
    assert on.storage.volume_presence("web", "log") is Presence.PARTIAL
    on.storage.mount_pool(on.spec)
    assert on.storage.release_presence(RELEASE) is Presence.PRESENT


def test_what_a_jail_runs_on_stays_mounted_when_a_mount_of_the_pool_is_taken_back(on: FakePool) -> None:
    on.build("debian", NEXT)
    on.mounts.mount(on.storage.root_source(RELEASE), "/rs/jails/web/root")
    on.storage.unmount_pool(on.spec)
    mounted = [mount.special for mount in on.world.state.mounts if mount.kind == "zfs" and mount.path.startswith(PATH)]
    assert mounted == [HOME, CLONE]
    on.storage.mount_pool(on.spec)
    assert on.storage.pool_mounted(on.spec) is Presence.PRESENT


LOOKS: dict[str, Callable[[FakePool], object]] = {
    "template": lambda pool: pool.storage.template_presence("debian", HEAD),
    "release": lambda pool: pool.storage.release_presence(RELEASE),
    "retired release": lambda pool: pool.storage.retired_presence(RELEASE, NEW),
    "volume": lambda pool: pool.storage.volume_presence("web", "log"),
    "volumes": lambda pool: pool.storage.volumes("web"),
    "data snapshot": lambda pool: pool.storage.snapshot_presence("web", ["log"], NEW),
    "trash": lambda pool: pool.storage.trash(),
    "pool": lambda pool: pool.storage.pool_presence(pool.spec),
    "mounts": lambda pool: pool.storage.pool_mounted(pool.spec),
}


@pytest.mark.parametrize("look", LOOKS)
def test_what_cannot_be_seen_for_want_of_the_pool_is_not_taken_for_gone(on: FakePool, look: str) -> None:
    run(on.world, ["zpool", "export", "tank"])
    with pytest.raises(DriverError, match="cannot use the pool tank: it is not imported"):
        LOOKS[look](on)


def test_the_pool_is_open_to_root_alone(on: FakePool) -> None:
    assert on.world.walk(PATH)[1].mode == 0o700


def test_other_snapshot_tools_are_asked_to_keep_off_templates_and_releases(on: FakePool) -> None:
    for kind, value in (("templates", "false"), ("releases", "false"), ("volumes", "-")):
        assert on.zfs("get", "-Hp", "-o", "value", "com.sun:auto-snapshot", f"{HOME}/{kind}").strip() == value


# --- what zfs prints --------------------------------------------------------------------------------------------------


def test_what_a_real_zfs_printed_is_read(tmp_path: Path) -> None:
    told = {capture.command: capture.answer for capture in captures()}
    name = "tank/rootswap/templates/web"
    seen = parsed_get(told[f"zfs get -Hp -o name,property,value,source all {name}"].stdout)[name]
    assert (seen.own("rootswap:owner"), seen.own("compression"), seen.value("compression")) == ("host1", None, "lz4")
    assert (seen.is_mounted, seen.value("mountpoint"), seen.age) == (True, "/rs/templates/web", 8)
    health = told["zpool get -Hp -o property,value health,free,size,capacity,freeing,readonly,guid tank"]
    assert (parsed_values(health.stdout)["health"], parsed_values(health.stdout)["readonly"]) == ("ONLINE", "off")
    assert parsed_tags(told[f"zfs holds -Hp {name}@r1"].stdout) == ("rootswap-tx1",)
    missing = told["zfs clone tank/rootswap/volumes/home-failed-tx1@tx1 tank/rootswap/volumes/home"]
    assert other_complaints(missing.stderr) == []
    held = told[f"zfs destroy {name}@r1"]
    assert len(other_complaints(held.stderr)) == 1
