"""A real Btrfs pool for tests, and a host that dies at a chosen call."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from commands.drivers.base import PoolSpec
from commands.drivers.btrfs import BtrfsStorage
from commands.drivers.host import LocalHost
from commands.drivers.mounts import parse_mounts

TOOLS = ("btrfs", "mkfs.btrfs", "mount", "umount", "losetup")
#: What a host can be asked to do that changes it, or that makes a change durable.
EFFECTS = ("run", "write", "make_directory", "remove", "rename", "sync")


def require_root() -> None:
    """Skip the test unless it can mount things."""
    path = LocalHost().run(["sh", "-c", "echo $PATH"]).stdout.strip()
    if os.geteuid() != 0 or not all(shutil.which(tool, path=path) for tool in TOOLS):
        pytest.skip("needs root and btrfs-progs")


def sh(*argv: str) -> str:
    """Run a command that has to succeed; its output."""
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


class Death(BaseException):
    """The process dies here."""


class MortalHost:
    """A LocalHost that dies before or after the n-th effect, counted from 1."""

    def __init__(self, die_before: int = 0, die_after: int = 0) -> None:
        self._host = LocalHost()
        self._die_before, self._die_after = die_before, die_after
        self.effects = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._host, name)
        if name not in EFFECTS:
            return method

        def effect(*args: Any, **kwargs: Any) -> Any:
            self.effects += 1
            if self.effects == self._die_before:
                raise Death
            result = method(*args, **kwargs)
            if self.effects == self._die_after:
                raise Death
            return result

        return effect


class RealPool:
    """A pool on an image, or on a given mount of one, in ``directory``."""

    def __init__(self, directory: Path, size_bytes: int = 1 << 30) -> None:
        self.directory = directory
        self.spec = PoolSpec(
            driver="btrfs", path=str(directory / "pool"), image=str(directory / "pool.img"), size_bytes=size_bytes
        )
        self.storage = BtrfsStorage(LocalHost(), self.spec)

    def mortal(self, **when: int) -> tuple[BtrfsStorage, MortalHost]:
        """The storage on a host that dies."""
        host = MortalHost(**when)
        return BtrfsStorage(host, self.spec), host

    def build(self, template: str, head: str, files: Sequence[str] = ("etc/motd", "var/log/app/log")) -> Path:
        """A finished template head with some files; its root."""
        self.storage.begin_template(template, head, None)
        root = Path(self.storage.template_path(template, head))
        for file in files:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(f"{file} of {head}\n")
        self.storage.finish_template(template, head)
        return root

    def release(self, release: str, head: str) -> Path:
        """A release of a built head; its root."""
        self.storage.take_release(release, head)
        return Path(self.storage.root_source(release).what)

    def loops(self) -> list[str]:
        """The loop devices that the image is attached to."""
        return sh("losetup", "-n", "-O", "NAME", "-j", str(self.spec.image)).split()


@contextmanager
def real_pool(directory: Path, *, create: bool = True, size_bytes: int = 1 << 30) -> Iterator[RealPool]:
    """A real pool; every mount in ``directory`` is gone afterwards."""
    require_root()
    pool = RealPool(directory, size_bytes)
    try:
        if create:
            pool.storage.create_pool(pool.spec)
        yield pool
    finally:
        unmount_all(directory)


def unmount_all(directory: Path) -> None:
    """Unmount everything beneath a directory, innermost first."""
    table = parse_mounts(Path("/proc/self/mountinfo").read_text())
    for path in [mount.path for mount in reversed(table) if mount.path.startswith(f"{directory}/")]:
        # Lazily if need be: what stays mounted here would be emptied when the directory is cleared away.
        if subprocess.run(["umount", path], check=False, capture_output=True).returncode != 0:
            sh("umount", "-l", path)
