"""The door to the world: the Protocol ``Host`` on it, with a gate before every look and around every change."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from commands.drivers.base import Completed, Stat
from commands.errors import DriverError, Interrupted, ToolMissing, ToolTimedOut
from tests.fakes import tools
from tests.fakes.mount import linux_table
from tests.fakes.world import Errno, FakeFreeBSD, Mount
from tests.fakes.zfs_space import room_beneath

#: Commands that only look: the gate is passed before them alone.
_LOOKS = re.compile(
    r"(zfs (get|list|holds|version|mount$)|zpool (get|list|status)|mount( -p| -v| --libxo \S+)?$"
    r"|jls|sysctl -n|find |stat )"
)


class Hang(Exception):
    """A tool raises this to stand for one that does not answer; the door makes a ToolTimedOut of it."""


class FakeHost:
    """The door. ``hooks`` are called with each argv before it runs: one that raises stands for a sick tool.

    ``ran`` is every argv so far. ``late`` are called after the command has done its work, as when only the answer is
    lost. ``answers`` is asked for the status of an HTTP request.
    """

    def __init__(self, world: FakeFreeBSD) -> None:
        self.world = world
        self.ran: list[tuple[str, ...]] = []
        self.hooks: list[Callable[[tuple[str, ...]], None]] = []
        self.late: list[Callable[[tuple[str, ...]], None]] = []
        self.answers: Callable[[FakeFreeBSD, str], int] | None = None
        self.connects: Callable[[FakeFreeBSD, str, int], bool] | None = None

    # --- commands ---

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 60.0,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
        cancelled: Callable[[], bool] | None = None,
        holds_lock: bool = True,
    ) -> Completed:
        words = " ".join(argv)
        self.world.gate(f"before running {words}")
        if cancelled is not None and cancelled():
            raise Interrupted(f"cannot finish {words}: interrupted by a signal")
        if not tools.has(self.world, argv[0]):
            raise ToolMissing(f"cannot run {words}: {os.path.basename(argv[0])} is not installed")
        self.ran.append(tuple(argv))
        remedy = "what it did so far is unknown; look at what it was waiting for"
        try:
            for hook in self.hooks:
                hook(tuple(argv))
            completed = tools.run(self.world, argv)
            for hook in self.late:
                hook(tuple(argv))
        except Hang as hang:
            raise ToolTimedOut(f"cannot run {words}: not done after {timeout_s:g} s", remedy=remedy) from hang
        if not _LOOKS.match(words):
            self.world.gate(f"after running {words}")
        if check and completed.status != 0:
            lines = [line for line in completed.stderr.splitlines() if line.strip()]
            raise DriverError(f"cannot run {words}: {lines[-1] if lines else f'status {completed.status}'}")
        return completed

    # --- looks ---

    def read(self, path: str) -> bytes:
        self.world.gate(f"before reading {path}")
        if path == "/proc/self/mountinfo" and self.world.state.platform == "linux":
            return linux_table(self.world).encode()
        with _told(f"cannot read {path}"):
            node = self.world.walk(path)[1]
            if node.kind == "directory":
                raise Errno("Is a directory")
            return node.blob.content

    def entries(self, path: str) -> tuple[str, ...]:
        self.world.gate(f"before listing {path}")
        node = self.world.find(path)
        return tuple(sorted(node.children)) if node is not None else ()

    def stat(self, path: str, *, follow: bool = False) -> Stat | None:
        self.world.gate(f"before looking at {path}")
        try:
            mount, node = self.world.walk(path, follow=follow)
        except Errno:
            return None
        return Stat(
            device=_device(mount), inode=node.inode, mode=node.mode, uid=node.uid, size_bytes=node.blob.size_bytes,
            is_directory=node.kind == "directory", is_symlink=node.kind == "link", is_file=node.kind == "file",
        )  # fmt: skip

    def read_link(self, path: str) -> str:
        self.world.gate(f"before reading link {path}")
        with _told(f"cannot read the symlink {path}"):
            node = self.world.walk(path, follow=False)[1]
            if node.kind != "link":
                raise Errno("Invalid argument")
            return node.target

    def resolve_beneath(self, root: str, path: str) -> str:
        self.world.gate(f"before resolving {path} beneath {root}")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        with _told(f"cannot resolve {path} beneath {root}"):
            at = root.rstrip("/")
            for part in parts:
                at = f"{at}/{part}"
                kind = self.world.walk(at, follow=False)[1].kind
                if kind == "link" or part == "..":
                    raise Errno(f"{part} is a symbolic link")
        return at or "/"

    def free_bytes(self, path: str) -> int:
        self.world.gate(f"before asking for the space of {path}")
        return room_beneath(self.world, f"{path}/x")

    # --- changes ---

    def write(self, path: str, content: bytes, mode: int = 0o600) -> None:
        with self._change(f"writing {path}"), _told(f"cannot write {path}"):
            self.world.write(path, content, mode)
            node = self.world.find(path)
            assert node is not None
            node.mode = mode

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        with self._change(f"making directory {path}"), _told(f"cannot make directory {path}"):
            self.world.make_directory(path, mode)

    def remove(self, path: str) -> None:
        with self._change(f"removing {path}"), _told(f"cannot remove {path}"):
            node = self.world.find(path, follow=False)
            if node is None:
                return
            if self.world.mounts_at(path):
                raise Errno("Device busy")
            if node.children:
                raise Errno("Directory not empty")
            head, _, name = path.rpartition("/")
            del self.world.writable(head or "/").children[name]

    def rename(self, old: str, new: str) -> None:
        with self._change(f"renaming {old} to {new}"), _told(f"cannot rename {old} to {new}"):
            (old_head, _, old_name), (new_head, _, new_name) = old.rpartition("/"), new.rpartition("/")
            if self.world.find(new, follow=False) is not None:
                raise Errno("the new name exists already")
            node = self.world.walk(old, follow=False)[1]
            if self.world.walk(old_head or "/")[0] is not self.world.walk(new_head or "/")[0]:
                raise Errno("Cross-device link")
            self.world.writable(new_head or "/").children[new_name] = node
            del self.world.writable(old_head or "/").children[old_name]

    def sync(self, path: str) -> None:
        with self._change(f"syncing {path}"), _told(f"cannot sync the file system of {path}"):
            self.world.walk(path)

    # --- the rest ---

    def http_status(self, url: str, timeout_s: float) -> int:
        self.world.gate(f"before getting {url}")
        if self.answers is None:
            raise DriverError(f"cannot get {url}: connection refused")
        return self.answers(self.world, url)

    def connect(self, address: str, port: int, timeout_s: float) -> None:
        self.world.gate(f"before connecting to {address} port {port}")
        if self.connects is None or not self.connects(self.world, address, port):
            raise DriverError(f"cannot connect to {address} port {port}: connection refused")

    def move_mount(self, old: str, new: str) -> None:
        self.run(["mount", "--move", "--", old, new])

    def unbind(self, path: str) -> None:
        self.run(["umount", "--", path])

    def signal(self, pid: int, cgroup: str, name: str) -> bool:
        raise DriverError(f"cannot send {name} to process {pid}: there are no cgroups here")

    def boot_id(self) -> str:
        return f"{{ sec = {1795353924 + self.world.state.boot}, usec = 180917 }}"

    def ioctl(self, path: str, request: int, size_bytes: int) -> bytes:
        raise DriverError(f"cannot ask the file system of {path}: inappropriate ioctl for device")

    def snapshot_subvolume(self, source: str, directory: str, name: str) -> None:
        raise DriverError(f"cannot snapshot {source} as {directory}/{name}: inappropriate ioctl for device")

    def tree_digest(self, path: str) -> str:
        raise DriverError(f"cannot look over {path}: there are no plain directories as storage here")

    def size_bytes(self, path: str) -> int:
        raise DriverError(f"cannot ask for the size of the file system of {path}: no plain directories as storage here")

    @contextmanager
    def _change(self, words: str) -> Iterator[None]:
        self.world.gate(f"before {words}")
        yield
        self.world.gate(f"after {words}")


def _device(mount: Mount) -> int:
    """The device number of a file system: a nullfs has its own, what Linux binds has that of what it shows."""
    while mount.kind != "nullfs" and mount.lower is not None:
        mount = mount.lower
    return mount.number


@contextmanager
def _told(sentence: str) -> Iterator[None]:
    try:
        yield
    except Errno as error:
        cause = str(error)
        raise DriverError(f"{sentence}: {cause[:1].lower() + cause[1:]}") from error
