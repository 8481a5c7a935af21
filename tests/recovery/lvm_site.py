"""A site whose storage and mounts are the real drivers on a fake LVM; jails, health and recipes are in memory."""

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from commands.config import Config
from commands.drivers.base import Drivers, JailSpec, PoolSpec
from commands.drivers.lvm import LvmStorage, NewVolumes
from commands.drivers.lvm_report import name_of
from commands.drivers.memory import MemoryBuilder, MemoryJails, MemoryWorld
from commands.drivers.memory_world import BUILDING
from commands.drivers.mounts import LinuxMounts, mounted, topmost
from commands.errors import DriverError
from tests.fakes.lvm import FakeLvm
from tests.fakes.lvm_host import FakeLvmHost
from tests.site import CONFIG, Site

Saved = tuple[dict[str, str], FakeLvm, list[tuple[str, str | None, bool]], Path]


class LvmSite(Site):
    """One host with a fake LVM; its files are in ``directory``.host, beside the ledger."""

    def __init__(self, directory: Path) -> None:
        self.files = directory.with_name("host")
        (self.files / "store").mkdir(parents=True)
        self.lvm_host = FakeLvmHost(FakeLvm(self.files / "store"))
        storage = {"driver": "lvm", "path": str(self.files / "pool"), "thin_pool": "vg/pool"}
        config = CONFIG.model_dump() | {"state_directory": str(self.files / "state"), "storage": storage}
        super().__init__(directory, Config.model_validate(config))
        self._saves = 0

    def drivers(self) -> Drivers:
        pool = PoolSpec(driver="lvm", path=self.config.storage.path, thin_pool="vg/pool")
        jails = LvmJails(self.world, self.lvm_host)
        return replace(
            self.world.drivers(),
            storage=LvmStorage(self.lvm_host, pool, NewVolumes()),
            mounts=LinuxMounts(self.lvm_host),
            jails={"lxc": jails},
            builder=Builder(self.world),
            inspect_root=lambda root, jail: None,
        )

    def guard(self, gate: Callable[[str], None]) -> None:
        super().guard(gate)
        self.lvm_host.gate = gate

    def reboot(self) -> None:
        super().reboot()
        self.lvm_host.reboot()

    def spoil(self, release: str) -> None:
        self.world.unhealthy.add(f"/dev/vg/{name_of('vg', f'releases/{release}')}")

    def save(self) -> object:
        self._saves += 1
        files = self.files.with_name(f"saved-{self._saves}")
        shutil.copytree(self.files, files, symlinks=True)
        table = [(mount.path, mount.lv.name if mount.lv else None, mount.writable) for mount in self.lvm_host.table]
        return dict(self.world.state), copy.deepcopy(self.lvm_host.lvm), table, files

    def load(self, saved: object) -> None:
        assert isinstance(saved, tuple)
        state, lvm, table, files = saved
        super().load(state)
        shutil.rmtree(self.files)
        shutil.copytree(files, self.files, symlinks=True)
        self.lvm_host.lvm = copy.deepcopy(lvm)
        self.lvm_host.remount(table)

    def host(self) -> dict[str, str]:
        """Logical volumes, mounts, mount points without a mount, and jails; not the data snapshots."""
        found = super().host()
        for lv in self.lvm_host.lvm.volumes.values():
            if not lv.name.startswith(("rootswap+snapshots", "rootswap+unwound")):
                root = lv.mounted_writable_at or lv.content
                files = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
                found[f"lv:{lv.name}"] = f"{lv.permission} {lv.active} {sorted(lv.tags)} {files}"
        for mount in self.lvm_host.table:
            found[f"mount:{mount.path}"] = f"{mount.lv.name if mount.lv else None} {mount.writable}"
        for root in (self.files / "pool").glob("rootswap/*/*/*/root"):
            found[f"directory:{root}"] = ""
        found["pool"] = str(sorted(self.lvm_host.lvm.pool_tags))
        return found


class LvmJails(MemoryJails):
    """Jails that run on the device that is mounted at their root, with all their volumes mounted."""

    def __init__(self, world: MemoryWorld, host: FakeLvmHost) -> None:
        super().__init__(world)
        self._host = host

    def start(self, jail: JailSpec) -> None:
        if f"jail:{jail.name}" in self._world.state and self._world.state[f"jail:{jail.name}"] != BUILDING:
            return
        table = mounted(self._host)
        root = topmost(table, jail.root)
        if root is None or not root.read_only:
            raise DriverError(f"cannot start jail {jail.name}: no root, or a writable one")
        for volume in jail.volumes:
            there = topmost(table, volume.source)
            if there is None or there.read_only:
                raise DriverError(f"cannot start jail {jail.name}: volume {volume.name} is not mounted writable")
        self._world.put(f"jail:{jail.name}", BUILDING)
        self._world.put(f"jail:{jail.name}", self._host.device_at(jail.root))


class Builder(MemoryBuilder):
    """Makes the directories that the volumes are filled from, and says which build it was."""

    def build(self, recipe: object, root: str, cancelled: Callable[[], bool]) -> None:
        (Path(root) / "var/log/nginx").mkdir(parents=True, exist_ok=True)
        (Path(root) / "home").mkdir(exist_ok=True)
        (Path(root) / f"built-{len(list(Path(root).glob('built-*')))}").touch()
        self._world.gate(f"after building {root}")
