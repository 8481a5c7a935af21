"""The Protocols that the steps are written against, and the values that pass through them.

Queries are nouns, commands are verbs. Every command is idempotent: already so is success. A command that returns has
made its effect durable. Every failure is a ``DriverError``; a query never changes anything.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from ledger.clock import Clock
from ledger.names import Name, ReleaseName, TransactionId


class Presence(StrEnum):
    """What a probe finds of a planned effect."""

    ABSENT = "absent"
    PARTIAL = "partial"
    PRESENT = "present"
    FOREIGN = "foreign"


# --- the door to the host ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that has ended: exit status and what it printed."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Stat:
    """What lstat tells of a path. ``device`` and ``inode`` together identify a file on this boot."""

    device: int
    inode: int
    mode: int
    uid: int
    size_bytes: int
    is_directory: bool
    is_symlink: bool
    is_file: bool


class Host(Protocol):
    """The one door: every effect on the host and every look at it goes through here."""

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
        """Run a command without a shell, LC_ALL=C, no standard input, in a session of its own.

        With ``check``, a status other than 0 raises DriverError with the last lines of stderr. ``cancelled`` is asked
        while the command runs; once it says yes, the command's whole session is killed and Interrupted is raised.
        A command that may leave something running for good must not hold the engine's lock (``holds_lock=False``).
        Raises ToolMissing, ToolTimedOut (the session was killed), DriverError, Interrupted.
        """
        ...

    def read(self, path: str) -> bytes:
        """The content of a file. Raises DriverError."""
        ...

    def write(self, path: str, content: bytes, mode: int = 0o600) -> None:
        """Replace a file atomically and durably."""
        ...

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """Make a directory and its parents; already there is success."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file or an empty directory; already gone is success."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Rename within one file system; the new name must not exist."""
        ...

    def entries(self, path: str) -> tuple[str, ...]:
        """The sorted names in a directory; empty if there is no such directory."""
        ...

    def stat(self, path: str, *, follow: bool = False) -> Stat | None:
        """What is at a path, or None. Symlinks are looked at, not through, unless ``follow``."""
        ...

    def read_link(self, path: str) -> str:
        """What a symlink says, as it is written. Raises DriverError when there is none."""
        ...

    def resolve_beneath(self, root: str, path: str) -> str:
        """The host path of ``path`` inside ``root``, with every component a real directory or file.

        Raises DriverError when a component is a symlink or ``..``: a hostile template must not lead out of its root.
        """
        ...

    def free_bytes(self, path: str) -> int:
        """Bytes that root can still write to the file system of ``path``."""
        ...

    def sync(self, path: str) -> None:
        """Make everything written to the file system of ``path`` durable."""
        ...

    def http_status(self, url: str, timeout_s: float) -> int:
        """The status code of a GET. Raises DriverError when no answer comes."""
        ...

    def connect(self, address: str, port: int, timeout_s: float) -> None:
        """Open and close a TCP connection. Raises DriverError when it is refused."""
        ...

    def boot_id(self) -> str:
        """What tells this boot from the next."""
        ...


# --- storage ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Space:
    """Room left in a pool. Metadata can run out first; None where the storage keeps no separate account."""

    data_free_bytes: int
    metadata_free_bytes: int | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Source:
    """What can be mounted: ``bind`` of a directory, or a device or data set of a file system type."""

    kind: str
    what: str


class PoolSpec(BaseModel):
    """Where the pool is; with ``image``, a sparse file of ``size_bytes`` that rootswap makes and mounts itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    driver: str
    path: str
    image: str | None = None
    size_bytes: int | None = None


class Volume(BaseModel):
    """A read-write data set of a jail: its name in the pool and the directory of the jail where it is mounted."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Name
    path: str


class Storage(Protocol):
    """Templates, releases and volumes. What is not marked as ours is FOREIGN and never touched."""

    # Pool
    def pool_presence(self, pool: PoolSpec) -> Presence:
        """Whether the pool is laid out and ours; PARTIAL when its creation was interrupted or it is not mounted."""
        ...

    def create_pool(self, pool: PoolSpec) -> None:
        """Make the image and its file system where asked, mount it, and lay out the marked directory tree."""
        ...

    def destroy_pool(self, pool: PoolSpec) -> None:
        """Undo ``create_pool``; refuses a pool that holds a template, release or volume."""
        ...

    def pool_mounted(self, pool: PoolSpec) -> Presence:
        """Whether the pool is mounted where it belongs; FOREIGN when something else is mounted there."""
        ...

    def mount_pool(self, pool: PoolSpec) -> None:
        """Mount the pool's image (a pool on a given mount is the administrator's to mount)."""
        ...

    def unmount_pool(self, pool: PoolSpec) -> None:
        """Unmount the pool's image."""
        ...

    def space(self) -> Space:
        """Room left in the pool."""
        ...

    # Templates
    def templates(self) -> tuple[tuple[Name, TransactionId], ...]:
        """Every template head in the pool that is ours, finished or not."""
        ...

    def template_presence(self, template: Name, head: TransactionId) -> Presence:
        """PRESENT once finished, PARTIAL between begin and finish."""
        ...

    def template_path(self, template: Name, head: TransactionId) -> str:
        """The directory that is the root of the template."""
        ...

    def begin_template(self, template: Name, head: TransactionId, base: TransactionId | None) -> None:
        """A writable head, empty or as ``base`` is now; ``base`` itself stays as it is."""
        ...

    def finish_template(self, template: Name, head: TransactionId) -> None:
        """Make the head durable and mark it finished."""
        ...

    def destroy_template(self, template: Name, head: TransactionId) -> None:
        """Destroy a head that is ours."""
        ...

    # Releases
    def releases(self) -> tuple[ReleaseName, ...]:
        """Every release in the pool that is ours."""
        ...

    def release_presence(self, release: ReleaseName) -> Presence:
        """Whether the release is there and immutable."""
        ...

    def take_release(self, release: ReleaseName, head: TransactionId) -> None:
        """Take an immutable snapshot of the head of its template."""
        ...

    def destroy_release(self, release: ReleaseName) -> None:
        """Destroy a release that is ours (the undo of ``take_release``)."""
        ...

    def fingerprint(self, release: ReleaseName) -> str:
        """The storage's own evidence of the release's content; changes if anybody changed it."""
        ...

    def retired_presence(self, release: ReleaseName, by: TransactionId) -> Presence:
        """Whether the release is out of use, kept in the trash of the transaction ``by``."""
        ...

    def retire_release(self, release: ReleaseName, by: TransactionId) -> None:
        """Put the release into the trash of a transaction, whence it can come back until it is emptied."""
        ...

    def restore_release(self, release: ReleaseName, by: TransactionId) -> None:
        """Take the release out of the trash again."""
        ...

    def trash(self) -> tuple[TransactionId, ...]:
        """The transactions that have something in the trash."""
        ...

    def empty_trash(self, by: TransactionId) -> None:
        """Destroy what the transaction put into the trash."""
        ...

    def root_source(self, release: ReleaseName) -> Source:
        """What to mount, read-only, as the root of a jail on this release."""
        ...

    # Volumes
    def volumes(self, jail: Name) -> tuple[Name, ...]:
        """The volumes of a jail that are there and ours."""
        ...

    def volume_presence(self, jail: Name, volume: Name) -> Presence:
        """PRESENT once filled, PARTIAL before."""
        ...

    def volume_path(self, jail: Name, volume: Name) -> str:
        """The directory that is the root of the volume."""
        ...

    def create_volume(self, jail: Name, volume: Volume, release: ReleaseName) -> None:
        """Create a volume and fill it with what the release has in that directory, owners and modes as there."""
        ...

    def destroy_volume(self, jail: Name, volume: Name) -> None:
        """Destroy a volume that is ours. Only ever the undo of its creation."""
        ...

    # Data snapshots
    def snapshots(self, jail: Name) -> tuple["DataSnapshot", ...]:
        """The data snapshots of a jail, kept or unwound."""
        ...

    def snapshot_presence(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> Presence:
        """PRESENT when every volume has its read-only snapshot."""
        ...

    def snapshot_volumes(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> None:
        """Keep the volumes of a stopped jail as they are at this moment."""
        ...

    def set_snapshot_aside(self, jail: Name, volumes: Sequence[Name], snapshot: TransactionId) -> None:
        """Undo ``snapshot_volumes``: a complete snapshot is kept, marked unwound; an incomplete one is destroyed."""
        ...


@dataclass(frozen=True, slots=True)
class DataSnapshot:
    """The volumes of a jail as they were when it was stopped by ``transaction``."""

    jail: Name
    transaction: TransactionId
    volumes: tuple[Name, ...]
    unwound: bool
    path: str


# --- mounts -----------------------------------------------------------------------------------------------------------


class Mounts(Protocol):
    """The mount table of the host."""

    def layers(self, path: str) -> int:
        """How many mounts are stacked at exactly this path."""
        ...

    def holds(self, path: str, source: Source) -> bool:
        """Whether the topmost mount at ``path`` is ``source``."""
        ...

    def mount(self, source: Source, path: str) -> None:
        """Mount ``source`` read-only at ``path``, making the directory if need be; already so is success."""
        ...

    def unmount(self, path: str) -> None:
        """Unmount the topmost mount at ``path``; nothing mounted is success."""
        ...

    def move(self, old: str, new: str) -> None:
        """Move the mount at ``old`` to ``new`` without an instant at which it is in neither place."""
        ...


# --- jails ------------------------------------------------------------------------------------------------------------


class JailState(StrEnum):
    """What the runtime says of a jail."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


class Network(BaseModel):
    """The host's network, or a pair of virtual interfaces of which one end is the jail's."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["host", "veth"] = "host"
    link: str | None = None
    interface: str | None = None
    address: str | None = None
    gateway: str | None = None


class MountedVolume(BaseModel):
    """A volume as a jail sees it: ``source`` on the host at ``path`` in the jail."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Name
    source: str
    path: str


class JailSpec(BaseModel):
    """All that a runtime needs to start a jail; frozen into the plan, so that undo starts what ran before."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    driver: str
    name: Name
    root: str
    command: tuple[str, ...]
    volumes: tuple[MountedVolume, ...] = ()
    network: Network = Network()
    environment: tuple[tuple[str, str], ...] = ()
    stop_signal: str = "SIGTERM"
    stop_timeout_s: float = 10.0
    start_timeout_s: float = 30.0
    settings: str | None = None


class Jails(Protocol):
    """A container runtime. State is always asked of the runtime, never remembered."""

    def preflight(self, jail: JailSpec) -> None:
        """Whether the runtime can run this jail. Raises ToolMissing or DriverError."""
        ...

    def state(self, jail: JailSpec) -> JailState:
        """What the runtime says of the jail now."""
        ...

    def runs_on(self, jail: JailSpec, source: Source) -> bool:
        """Whether the jail runs and its root is ``source``."""
        ...

    def start(self, jail: JailSpec) -> None:
        """Start the jail on what is mounted at its root; running already is success."""
        ...

    def stop(self, jail: JailSpec) -> None:
        """Send the stop signal, wait for the timeout, then kill; returns when no process of the jail is left."""
        ...

    def execute(self, jail: JailSpec, argv: Sequence[str], timeout_s: float) -> Completed:
        """Run a command inside the running jail; the status is for the caller to judge."""
        ...


# --- health checks ----------------------------------------------------------------------------------------------------


class HealthCheck(BaseModel):
    """One question to a jail, of exactly one kind; asked until it was answered well ``successes`` times in a row."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Name
    http: str | None = None
    expect_status: int = 200
    tcp: str | None = None
    command: tuple[str, ...] | None = None
    timeout_s: float = 30.0
    interval_s: float = 0.005
    successes: int = 1


class Health(Protocol):
    """Asks a jail whether it is well."""

    def ask(self, check: HealthCheck, jail: JailSpec) -> str | None:
        """One question: None when all is well, else what is wrong in one line."""
        ...


# --- template builders ------------------------------------------------------------------------------------------------


class Recipe(BaseModel):
    """How the content of a template comes about: from nothing (bootstrap) or from its base (upgrade)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    method: Literal["debian", "tar", "script", "apt", "inside"]
    suite: str | None = None
    packages: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    file: str | None = None
    sha256: str | None = None
    timeout_s: float = 3600.0


class Builder(Protocol):
    """Builds and upgrades roots offline."""

    def preflight(self, recipe: Recipe) -> None:
        """Whether the recipe can be followed here. Raises ToolMissing or DriverError."""
        ...

    def build(self, recipe: Recipe, root: str, cancelled: Callable[[], bool]) -> None:
        """Follow the recipe in the directory ``root``. No daemon is started. Raises DriverError, Interrupted."""
        ...

    def packages(self, root: str) -> dict[str, str]:
        """The installed packages of a root and their versions; empty where no package database is known."""
        ...


# --- all of them ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drivers:
    """What a step may touch."""

    storage: Storage
    mounts: Mounts
    jails: Mapping[str, Jails]
    health: Health
    builder: Builder
    clock: Clock
    cancelled: Callable[[], bool]
    inspect_root: Callable[[str, JailSpec], None]
