"""A host with a fake LVM: its commands and devices, and a mount table; all else is the machine that we run on.

What is mounted writable is moved to its mount point, what is mounted read-only is copied there: so programs of the
real machine (cp, find) see what they would see, and nothing of it needs root.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from commands.drivers.base import Completed, Stat
from commands.drivers.host import LocalHost
from commands.errors import DriverError, ToolTimedOut
from tests.fakes.lvm import FakeLvm, Lv

LVM = ("lvs", "vgs", "lvcreate", "lvchange", "lvremove", "lvrename")
MAJOR = 253


@dataclass
class Mounted:
    """A line of the mount table; ``lv`` is None for what somebody else has mounted."""

    path: str
    lv: Lv | None
    writable: bool


class FakeLvmHost(LocalHost):
    """``gate`` hears of each look and of each effect before and after it; ``busy`` paths are not unmounted.

    Tools that are among ``hangs`` do nothing and never answer; those that are ``late`` do their work and never answer.
    """

    def __init__(self, lvm: FakeLvm, gate: Callable[[str], None] = lambda _point: None) -> None:
        super().__init__()
        self.lvm = lvm
        self.gate = gate
        self.table: list[Mounted] = []
        self.busy: set[str] = set()
        self.hangs: set[str] = set()
        self.late: set[str] = set()
        self.commands: list[str] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 60.0,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
        cancelled: Callable[[], bool] | None = None,
        holds_lock: bool = True,
        stdin: str | None = None,
        until: bytes | None = None,
    ) -> Completed:
        words = " ".join(argv)
        tool = argv[0]
        if tool in self.hangs:
            raise ToolTimedOut(f"cannot run {tool}: not done after {timeout_s:g} s")
        self.commands.append(words)
        self.gate(f"before {words}")
        own = {"mount": self._mount, "umount": self._umount, "blkid": self._blkid, "od": self._od, "sync": self._flush}
        if tool in LVM:
            completed = self.lvm.run(list(argv))
        elif tool in own:
            completed = own[tool](list(argv[1:]))
        elif tool.startswith("mkfs."):
            completed = self._mkfs(tool.removeprefix("mkfs."), argv[-1])
        else:
            completed = super().run(argv, timeout_s=timeout_s, check=check)
        if tool in self.late:
            raise ToolTimedOut(f"cannot run {tool}: not done after {timeout_s:g} s")
        if tool not in ("lvs", "vgs", "sync", "blkid", "od", "find"):
            self.gate(f"after {words}")
        if check and completed.status != 0:
            raise DriverError(f"cannot run {tool}: {completed.stderr.strip()}")
        return completed

    # Devices

    def _lv(self, device: str) -> Lv | None:
        lv = self.lvm.volumes.get(device.removeprefix(f"/dev/{self.lvm.group}/"))
        return lv if lv is not None and lv.active and device.startswith("/dev/") else None

    def _mkfs(self, kind: str, device: str) -> Completed:
        lv = self._lv(device)
        if lv is None or lv.permission != "w":
            return Completed(1, "", f"mkfs.{kind}: {device}: no such device or it is read-only\n")
        lv.kind, lv.fs_uuid = kind, lv.uuid
        lv.content.mkdir()
        if kind == "ext4":
            (lv.content / "lost+found").mkdir()
        return Completed(0, "", "")

    def _blkid(self, argv: list[str]) -> Completed:
        lv = self._lv(argv[-1])
        return Completed(0, f"{lv.kind}\n", "") if lv and lv.kind else Completed(2, "", "")

    def _od(self, argv: list[str]) -> Completed:
        lv = self._lv(argv[-1])
        if lv is None:
            return Completed(1, "", f"od: {argv[-1]}: No such file or directory\n")
        return Completed(0, hashlib.sha256(f"{lv.fs_uuid} {lv.mounts}".encode()).hexdigest(), "")

    def _flush(self, disks: list[str]) -> Completed:
        """A crash of the engine loses nothing that was written, so a flush changes nothing."""
        assert disks == ["--", *self.lvm.disks]
        return Completed(0, "", "")

    # Mounts

    def _mount(self, argv: list[str]) -> Completed:
        path = argv[-1]
        if "--move" in argv:
            return self._move(argv[-2], path)
        options = argv[argv.index("-o") + 1].split(",")
        if "remount" in options:
            return self._remount(path)
        lv = self._lv(argv[-2])
        if lv is None:
            return Completed(32, "", f"mount: {path}: special device {argv[-2]} does not exist.\n")
        wrong = self._cannot_mount(lv, options)
        if wrong:
            return Completed(32, "", f"mount: {path}: {wrong}.\n")
        writable = "rw" in options
        if writable:
            os.rename(lv.content, path)
            lv.mounted_writable_at = Path(path)
            lv.mounts += 1
            lv.dirty = False
        else:
            shutil.copytree(lv.content, path, symlinks=True, dirs_exist_ok=True)
        lv.open += 1
        self.table.append(Mounted(path, lv, writable))
        return Completed(0, "", "")

    @staticmethod
    def _recovers(lv: Lv, options: list[str]) -> bool:
        return lv.dirty and not {"noload", "norecovery"} & set(options)

    def _cannot_mount(self, lv: Lv, options: list[str]) -> str | None:
        if lv.permission == "r" and "rw" in options:
            return "cannot mount read-only device read-write"
        if lv.permission == "r" and self._recovers(lv, options):
            return "the journal needs recovery, and the device is write-protected"
        others = (mount.lv for mount in self.table if mount.lv is not None and mount.lv is not lv)
        if lv.kind == "xfs" and "nouuid" not in options and any(other.fs_uuid == lv.fs_uuid for other in others):
            return "wrong fs type, bad option, bad superblock (XFS: duplicate UUID)"
        return None

    def _remount(self, path: str) -> Completed:
        mount = self._top(path)
        if mount is None or path in self.busy:
            return Completed(32, "", f"mount: {path}: mount point is busy or not mounted.\n")
        mount.writable = False
        lv = mount.lv
        if lv is not None and lv.mounted_writable_at == Path(path):
            lv.mounted_writable_at = None
            shutil.copytree(path, lv.content, symlinks=True)
        return Completed(0, "", "")

    def _move(self, old: str, new: str) -> Completed:
        mount = self._top(old)
        if mount is None:
            return Completed(32, "", f"mount: {old}: not a mount point.\n")
        os.rename(old, new)
        os.mkdir(old)
        mount.path = new
        return Completed(0, "", "")

    def _umount(self, argv: list[str]) -> Completed:
        path = argv[-1]
        mount = self._top(path)
        if mount is None:
            return Completed(32, "", f"umount: {path}: not mounted.\n")
        if path in self.busy:
            return Completed(32, "", f"umount: {path}: target is busy.\n")
        self.take_away(mount)
        return Completed(0, "", "")

    def take_away(self, mount: Mounted) -> None:
        """Unmount, whoever uses it."""
        self.table.remove(mount)
        lv = mount.lv
        if lv is None:
            return
        lv.open -= 1
        if lv.mounted_writable_at == Path(mount.path):
            os.rename(mount.path, lv.content)
            lv.mounted_writable_at = None
        else:
            shutil.rmtree(mount.path)
        os.mkdir(mount.path)

    def _top(self, path: str) -> Mounted | None:
        return next((mount for mount in reversed(self.table) if mount.path == path), None)

    def device_at(self, path: str) -> str:
        """The device that is mounted at a path."""
        mount = self._top(path)
        assert mount is not None and mount.lv is not None
        return f"/dev/{self.lvm.group}/{mount.lv.name}"

    def remount(self, table: Sequence[tuple[str, str | None, bool]]) -> None:
        """Take another mount table, whose files are in place already."""
        named = self.lvm.volumes
        self.table = [Mounted(path, named[name] if name else None, writable) for path, name, writable in table]

    def reboot(self) -> None:
        """Lose what a reboot loses: mounts, and which volumes are active."""
        for mount in self.table[::-1]:
            self.take_away(mount)
        self.lvm.reboot()

    # The rest of the door

    def read(self, path: str) -> bytes:
        if path != "/proc/self/mountinfo":
            return super().read(path)
        self.gate("before looking at the mounts")
        lines = ["22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw"]
        for number, mount in enumerate(self.table, 30):
            below = [30 + at for at, other in enumerate(self.table[: number - 30]) if other.path == mount.path]
            device, name = ("0:99", "theirs") if mount.lv is None else self._numbered(mount.lv)
            kind = "tmpfs" if mount.lv is None else mount.lv.kind
            flags = "rw" if mount.writable else "ro"
            path = mount.path.replace(" ", "\\040")
            lines.append(f"{number} {below[-1] if below else 22} {device} / {path} {flags} - {kind} {name} {flags}")
        return "\n".join(lines).encode()

    def _numbered(self, lv: Lv) -> tuple[str, str]:
        names = (name.replace("-", "--") for name in (self.lvm.group, lv.name))
        return f"{MAJOR}:{lv.minor}", f"/dev/mapper/{'-'.join(names)}"

    def stat(self, path: str, *, follow: bool = False) -> Stat | None:
        if not path.startswith(f"/dev/{self.lvm.group}/"):
            return super().stat(path, follow=follow)
        lv = self._lv(path)
        if lv is None:
            return None
        number = os.makedev(MAJOR, lv.minor)
        return Stat(1, lv.minor, 0o660, 0, 0, is_directory=False, is_symlink=False, is_file=False, rdev=number)

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        self.gate(f"before making {path}")
        super().make_directory(path, mode)
        self.gate(f"after making {path}")

    def remove(self, path: str) -> None:
        self.gate(f"before removing {path}")
        super().remove(path)
        self.gate(f"after removing {path}")

    def move_mount(self, old: str, new: str) -> None:
        self.run(["mount", "--move", "--", old, new])

    def unbind(self, path: str) -> None:
        self.run(["umount", "--", path])

    def sync(self, path: str) -> None:
        self.gate(f"before syncing {path}")
