"""Real pools for tests, of Btrfs and in directories, and a host that dies at a chosen call."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest

from commands.drivers.base import PoolSpec, Storage, Volume
from commands.drivers.btrfs import BtrfsStorage
from commands.drivers.directory import DirectoryStorage
from commands.drivers.host import LocalHost
from commands.drivers.mounts import parse_mounts

_MOUNT_TOOLS = ("mount", "umount", "losetup")
TOOLS = ("btrfs", "mkfs.btrfs", *_MOUNT_TOOLS)
#: What a host can be asked to do that changes it, or that makes a change durable.
EFFECTS = ("run", "write", "make_directory", "remove", "rename", "sync")


def require_root(*tools: str) -> None:
    """Skip the test unless it can mount things, with ``tools`` instead of those of Btrfs."""
    path = LocalHost().run(["sh", "-c", "echo $PATH"]).stdout.strip()
    wanted = (*tools, *_MOUNT_TOOLS) if tools else TOOLS
    if os.geteuid() != 0 or not all(shutil.which(tool, path=path) for tool in wanted):
        pytest.skip(f"needs root and {', '.join(tools) or 'btrfs-progs'}")


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


T = TypeVar("T", bound=Storage)


class Pool(Generic[T]):
    """A pool in ``directory``; ``make`` makes its storage on a host."""

    def __init__(self, directory: Path, spec: PoolSpec, make: Callable[[Any, PoolSpec], T]) -> None:
        self.directory = directory
        self.spec = spec
        self.storage = make(LocalHost(), spec)
        self._make = make

    def mortal(self, **when: int) -> tuple[T, MortalHost]:
        """The storage on a host that dies."""
        host = MortalHost(**when)
        return self._make(host, self.spec), host

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


class RealPool(Pool[BtrfsStorage]):
    """A Btrfs pool on an image, or on a given mount of one."""

    def __init__(self, directory: Path, size_bytes: int = 1 << 30) -> None:
        path, image = str(directory / "pool"), str(directory / "pool.img")
        spec = PoolSpec(driver="btrfs", path=path, image=image, size_bytes=size_bytes)
        super().__init__(directory, spec, BtrfsStorage)

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


class DirectoryPool(Pool[DirectoryStorage]):
    """A pool in plain directories."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, PoolSpec(driver="directory", path=str(directory / "pool")), DirectoryStorage)

    def furnish(self) -> Path:
        """The release debian@cccccccc with a jail's volume on it; the root of the release."""
        self.build("debian", "aaaaaaaa")
        root = self.release("debian@cccccccc", "aaaaaaaa")
        self.storage.create_volume("web", Volume(name="log", path="/var/log"), "debian@cccccccc")
        return root


@contextmanager
def directory_pool(directory: Path) -> Iterator[DirectoryPool]:
    """A pool in plain directories; every mount in ``directory`` is gone afterwards."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to keep owners")
    pool = DirectoryPool(directory)
    try:
        pool.storage.create_pool(pool.spec)
        yield pool
    finally:
        unmount_all(directory)


@contextmanager
def xfs(directory: Path, size_bytes: int = 400 << 20) -> Iterator[None]:
    """An XFS that shares blocks, mounted at ``directory``."""
    require_root("mkfs.xfs")
    image = directory.with_name(f"{directory.name}.img")
    image.touch()
    os.truncate(image, size_bytes)
    sh("mkfs.xfs", "-q", "-m", "reflink=1", str(image))
    directory.mkdir()
    sh("mount", "-o", "loop", str(image), str(directory))
    try:
        yield
    finally:
        unmount_all(directory)
        sh("umount", str(directory))


def unmount_all(directory: Path) -> None:
    """Unmount everything beneath a directory, innermost first."""
    table = parse_mounts(Path("/proc/self/mountinfo").read_text())
    for path in [mount.path for mount in reversed(table) if mount.path.startswith(f"{directory}/")]:
        # Lazily if need be: what stays mounted here would be emptied when the directory is cleared away.
        if subprocess.run(["umount", path], check=False, capture_output=True).returncode != 0:
            sh("umount", "-l", path)
