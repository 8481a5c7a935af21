"""What a FreeBSD in memory consists of: pools with data sets and snapshots, mounts, and all of it as one state."""

from dataclasses import dataclass, field
from typing import Any, Literal

from tests.fakes.tree import Node

Platform = Literal["freebsd", "linux"]
MIB = 1 << 20


class Errno(Exception):
    """What a system call answers: the words of strerror(3)."""


NOT_THERE = "No such file or directory"
READ_ONLY = "Read-only file system"
NOT_DIRECTORY = "Not a directory"
NO_SPACE = "No space left on device"
BUSY = "Device busy"


@dataclass(eq=False)
class Snapshot:
    """A snapshot of a data set."""

    name: str
    guid: int
    createtxg: int
    creation: int
    tree: Node
    properties: dict[str, str] = field(default_factory=dict)
    holds: dict[str, int] = field(default_factory=dict)
    defer_destroy: bool = False


@dataclass(eq=False)
class Dataset:
    """A file system of a pool; ``properties`` are those set here. ``origin`` is the snapshot that it is a clone of."""

    guid: int
    createtxg: int
    creation: int
    tree: Node = field(default_factory=Node)
    properties: dict[str, str] = field(default_factory=dict)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    origin: Snapshot | None = None
    number: int = 0


@dataclass(eq=False)
class Pool:
    """A pool. ``datasets`` by full name, the pool's own first; a pool that is not imported is in ``World.exported``."""

    name: str
    guid: int
    size_bytes: int
    datasets: dict[str, Dataset] = field(default_factory=dict)
    health: str = "ONLINE"
    read_only: bool = False
    history: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Mount:
    """A mount: ``root`` is seen in place of ``covers``, which is in the file system mounted by ``parent``."""

    special: str
    path: str
    kind: str
    root: Node
    parent: "Mount | None"
    covers: Node | None
    read_only: bool = False
    options: tuple[str, ...] = ()
    lower: "Mount | None" = None
    number: int = 0


@dataclass
class State:
    """What survives ``save`` and ``restore``. Who writes a tool of their own keeps its state in ``more``."""

    platform: Platform = "freebsd"
    pools: dict[str, Pool] = field(default_factory=dict)
    exported: dict[str, Pool] = field(default_factory=dict)
    disks: dict[str, int] = field(default_factory=lambda: {"vtbd1": 640 * MIB})
    mounts: list[Mount] = field(default_factory=list)
    jails: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    boot: int = 1
    now: int = 1795353924
    txg: int = 4
    drawn: int = 0
    mounted: int = 0
    missing: set[str] = field(default_factory=set)
