"""The ZFS driver on the real door: each tool is a process, found on the PATH, with real pipes and real statuses."""

from pathlib import Path

import pytest

from commands.drivers import host as door
from commands.drivers.base import PoolSpec, Presence, Volume
from commands.drivers.host import LocalHost
from commands.drivers.mounts_freebsd import FreeBsdMounts
from commands.drivers.zfs import ZfsStorage
from commands.errors import DriverError
from tests.fakes import executable
from tests.fakes.tools import run
from tests.fakes.world import FakeFreeBSD

HEAD, TX = "aaaaaaaa", "cccccccc"
RELEASE = f"debian@{TX}"


def test_a_release_and_a_volume_come_and_go_by_way_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = FakeFreeBSD()
    world.make_directory(str(tmp_path / "pool"))
    assert run(world, ["zpool", "create", "-O", "mountpoint=none", "tank", "vtbd1"]).status == 0
    scripts = executable.install(tmp_path, world, "zfs", "zpool", "mount", "umount", shadow=tmp_path / "pool")
    monkeypatch.setitem(door.ENVIRONMENT, "PATH", f"{scripts}:{door.ENVIRONMENT['PATH']}")
    host = LocalHost()
    pool = PoolSpec(driver="zfs", path=str(tmp_path / "pool"), dataset="tank/rootswap")
    storage = ZfsStorage(host, FreeBsdMounts(host), pool)

    storage.create_pool(pool)
    assert (tmp_path / "pool").stat().st_mode & 0o777 == 0o700
    storage.begin_template("debian", HEAD, None)
    storage.finish_template("debian", HEAD)
    storage.take_release(RELEASE, HEAD)
    assert storage.release_presence(RELEASE) is Presence.PRESENT
    data = Path(storage.root_source(RELEASE).what) / "data"
    data.mkdir(mode=0o750)
    (data / "file").write_text("content")
    storage.create_volume("web", Volume(name="data", path="/data"), RELEASE)
    volume = Path(storage.volume_path("web", "data"))
    assert (volume.stat().st_mode & 0o777, (volume / "file").read_text()) == (0o750, "content")
    storage.snapshot_volumes("web", ["data"], TX)
    with pytest.raises(DriverError, match="it holds snapshots/web/cccccccc"):
        storage.destroy_volume("web", "data")
    storage.destroy_release(RELEASE)
    seen = executable.load(tmp_path).picture()
    assert [key for key in seen if "releases/debian" in key] == []
    assert f"snapshot tank/rootswap/volumes/web:data@{TX}" in seen


def test_a_tool_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(door.ENVIRONMENT, "PATH", str(tmp_path))
    host = LocalHost()
    pool = PoolSpec(driver="zfs", path=str(tmp_path / "pool"), dataset="tank/rootswap")
    with pytest.raises(DriverError) as caught:
        ZfsStorage(host, FreeBsdMounts(host), pool).pool_presence(pool)
    assert caught.value.exit_code == 69
    assert caught.value.remedy == "install the package zfsutils-linux"
