"""The Protocols that the steps are written against; their values are in ``values``, the host's door is in ``door``.

Queries are nouns, commands are verbs. Every command is idempotent: already so is success. A command that returns has
made its effect durable. Every failure is a ``DriverError``; a query never changes anything.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from commands.drivers.door import Completed, Host, Stat
from commands.drivers.secret_files import Read, Secrets, no_file
from commands.drivers.values import (
    DataSnapshot,
    HealthCheck,
    JailSpec,
    JailState,
    MountedVolume,
    Network,
    PoolSpec,
    Presence,
    Recipe,
    Source,
    Space,
    Volume,
)
from ledger.clock import Clock
from ledger.names import Name, ReleaseName, TransactionId

__all__ = [
    "Builder",
    "Completed",
    "DataSnapshot",
    "Drivers",
    "Health",
    "HealthCheck",
    "Host",
    "JailSpec",
    "JailState",
    "Jails",
    "MountedVolume",
    "Mounts",
    "Network",
    "PoolSpec",
    "Presence",
    "Recipe",
    "Source",
    "Space",
    "Stat",
    "Storage",
    "Volume",
]

# --- storage ----------------------------------------------------------------------------------------------------------


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
    def snapshots(self, jail: Name) -> tuple[DataSnapshot, ...]:
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


# --- mounts -----------------------------------------------------------------------------------------------------------


class Mounts(Protocol):
    """The mount table of the host."""

    def layers(self, path: str) -> int:
        """How many mounts are stacked at exactly this path."""
        ...

    def holds(self, path: str, source: Source) -> bool:
        """Whether the topmost mount at ``path`` is ``source``."""
        ...

    def is_writable(self, path: str) -> bool:
        """Whether the topmost mount at ``path`` can be written: so its mounting was cut off, or it is not by us."""
        ...

    def shown(self, path: str) -> tuple[str, ...]:
        """What is mounted at exactly this path, the topmost last, for people."""
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

    def last_words(self, jail: JailSpec) -> tuple[str, ...]:
        """The last lines that the jail has printed since it was started: few, and without control characters."""
        ...


# --- health checks ----------------------------------------------------------------------------------------------------


class Health(Protocol):
    """Asks a jail whether it is well."""

    def ask(self, check: HealthCheck, jail: JailSpec) -> str | None:
        """One question: None when all is well, else what is wrong in one line."""
        ...


# --- template builders ------------------------------------------------------------------------------------------------


class Builder(Protocol):
    """Builds and upgrades roots offline."""

    def preflight(self, recipe: Recipe, base: str | None = None) -> None:
        """Whether the recipe can be followed here, in a copy of the root ``base``. Raises DriverError."""
        ...

    def build(self, recipe: Recipe, root: str, cancelled: Callable[[], bool]) -> None:
        """Follow the recipe in the directory ``root``. No daemon is started. Raises DriverError, Interrupted."""
        ...

    def clear(self, root: str) -> None:
        """End and unmount what an interrupted build has left in ``root``; nothing left is success."""
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
    secrets: Secrets = field(default_factory=lambda: Secrets(no_file))
    #: A file of the administrator's, whole. Raises DriverError.
    read: Read = no_file
