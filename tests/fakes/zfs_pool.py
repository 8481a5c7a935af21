"""The ZFS driver on a pool of the world in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from commands.drivers.base import PoolSpec
from commands.drivers.mounts import LinuxMounts
from commands.drivers.mounts_freebsd import FreeBsdMounts
from commands.drivers.zfs import ZfsStorage
from commands.drivers.zfs_pool import ZfsMounts
from tests.fakes.host import FakeHost
from tests.fakes.tools import run
from tests.fakes.world import FakeFreeBSD, Platform

HOME = "tank/rootswap"
PATH = "/var/rootswap/pool"


@dataclass
class FakePool:
    """A world with a zpool, and the driver on it."""

    world: FakeFreeBSD
    host: FakeHost
    mounts: ZfsMounts
    storage: ZfsStorage
    spec: PoolSpec

    def zfs(self, *argv: str) -> str:
        """What an administrator types; it has to succeed."""
        completed = run(self.world, ["zfs", *argv])
        assert completed.status == 0, completed.stderr
        return completed.stdout

    def plant(self, key: str) -> None:
        """Something foreign where ``release:NAME`` and the like would be."""
        kind, *names = key.split(":")
        if kind == "snapshot":
            jail, transaction, volume = names
            self.zfs("snapshot", f"{HOME}/volumes/{jail}:{volume}@{transaction}")
        else:
            name = ":".join(names).replace("@", ":")
            self.zfs("create", "-o", "canmount=noauto", f"{HOME}/{kind}s/{name}")

    def build(self, template: str, head: str, *, base: str | None = None) -> str:
        """A finished head with a few directories; its root."""
        self.storage.begin_template(template, head, base)
        root = self.storage.template_path(template, head)
        for path in ("var/log/nginx", "home", "dev", "tmp"):
            self.world.make_directory(f"{root}/{path}")
        self.world.write(f"{root}/var/log/nginx/log", f"log of {head}".encode())
        self.world.write(f"{root}/home/file", f"file of {head}".encode())
        self.storage.finish_template(template, head)
        return root

    def changes(self) -> list[str]:
        """The commands of zfs that changed something: each waits for a transaction group. It begins anew each time."""
        looks = ("get", "list", "holds", "mount", "unmount")
        ran = [" ".join(argv) for argv in self.host.ran if argv[0] == "zfs" and argv[1] not in looks]
        self.host.ran.clear()
        return ran


@contextmanager
def fake_pool(platform: Platform = "freebsd", *, create: bool = True) -> Iterator[FakePool]:
    """A pool on a fresh world."""
    world = FakeFreeBSD(platform)
    assert (
        run(world, ["zpool", "create", "-O", "mountpoint=none", "-O", "compression=lz4", "tank", "vtbd1"]).status == 0
    )
    yield pool_on(world, create=create)


def pool_on(world: FakeFreeBSD, *, create: bool = False) -> FakePool:
    """The driver on a world that has a zpool."""
    host = FakeHost(world)
    mounts: ZfsMounts = LinuxMounts(host) if world.state.platform == "linux" else FreeBsdMounts(host)
    spec = PoolSpec(driver="zfs", path=PATH, dataset=HOME)
    pool = FakePool(world, host, mounts, ZfsStorage(host, mounts, spec), spec)
    if create:
        pool.storage.create_pool(spec)
    return pool
