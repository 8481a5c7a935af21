"""A pool of the LVM driver on the fake, with what a test may do to it."""

from dataclasses import dataclass
from pathlib import Path

from commands.drivers.base import PoolSpec, Volume
from commands.drivers.lvm import LvmStorage, NewVolumes
from commands.drivers.lvm_report import name_of
from tests.fakes.lvm import FakeLvm, Lv
from tests.fakes.lvm_host import FakeLvmHost

HEAD, NEXT, TX, TRASH = "aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"
RELEASE = f"debian@{TX}"
LOG, HOME = Volume(name="log", path="/var/log"), Volume(name="home", path="/home")


@dataclass
class FakePool:
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


def make_pool(directory: Path, file_system: str = "ext4") -> FakePool:
    """A fake LVM in a directory; the pool is not created yet."""
    (directory / "store").mkdir()
    host = FakeLvmHost(FakeLvm(directory / "store"))
    spec = PoolSpec(driver="lvm", path=str(directory / "pool"), thin_pool="vg/pool")
    new = NewVolumes("xfs" if file_system == "xfs" else "ext4", 4 << 30, 2 << 30)
    return FakePool(host, spec, LvmStorage(host, spec, new))
