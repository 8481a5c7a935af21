"""The values that pass through the Protocols; those that a plan holds are pydantic models, for they are persisted."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ledger.names import Name, TransactionId


class Presence(StrEnum):
    """What a probe finds of a planned effect."""

    ABSENT = "absent"
    PARTIAL = "partial"
    PRESENT = "present"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Space:
    """Room left in a pool. Metadata can run out first; None where the storage keeps no separate account.

    With less than ``metadata_reserve_bytes`` of it, snapshots begin to fail. ``cautions`` say what else to watch.
    """

    data_free_bytes: int
    metadata_free_bytes: int | None
    size_bytes: int
    metadata_reserve_bytes: int = 64 << 20
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """What can be mounted: ``bind`` of a directory, a ``device``, or a data set of a file system type."""

    kind: str
    what: str


class PoolSpec(BaseModel):
    """Where the pool is; with ``image``, a sparse file of ``size_bytes`` that rootswap makes and mounts itself.

    With ``dataset``, a ZFS data set that rootswap makes in a zpool of the administrator's and mounts at ``path``.
    ``thin_pool`` is ``GROUP/POOL`` of LVM, the mount points of which are beneath ``path``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    driver: str
    path: str
    image: str | None = None
    size_bytes: int | None = None
    dataset: str | None = None
    thin_pool: str | None = None


class Volume(BaseModel):
    """A read-write data set of a jail: its name in the pool and the directory of the jail where it is mounted."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    name: Name
    path: str
    quota_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class DataSnapshot:
    """The volumes of a jail as they were when it was stopped by ``transaction``.

    ``written_bytes`` is what was written to them since, and would be lost with a return; None where nobody counts it.
    """

    jail: Name
    transaction: TransactionId
    volumes: tuple[Name, ...]
    unwound: bool
    path: str
    written_bytes: int | None = None


class JailState(StrEnum):
    """What the runtime says of a jail."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


class Network(BaseModel):
    """The host's network, or a pair of virtual interfaces of which one end is the jail's."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    kind: Literal["host", "veth"] = "host"
    link: str | None = None
    interface: str | None = None
    address: str | None = None
    gateway: str | None = None


class MountedVolume(BaseModel):
    """A volume as a jail sees it: ``source`` on the host at ``path`` in the jail."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    name: Name
    source: str
    path: str


class SecretFile(BaseModel):
    """A file with secrets, as a plan names it: by its path, and a salted digest (both hexadecimal) of its content."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    path: str
    salt: str
    digest: str


class JailSpec(BaseModel):
    """All that a runtime needs to start a jail; frozen into the plan, so that undo starts what ran before."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
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
    runtime: str | None = None
    secrets: SecretFile | None = None


class HealthCheck(BaseModel):
    """One question to a jail, of exactly one kind; asked until it was answered well ``successes`` times in a row."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    name: Name
    http: str | None = None
    expect_status: int = 200
    tcp: str | None = None
    command: tuple[str, ...] | None = None
    timeout_s: float = 30.0
    interval_s: float = 0.005
    successes: int = 1


class Recipe(BaseModel):
    """How the content of a template comes about: from nothing (bootstrap) or from its base (upgrade)."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    method: Literal["debian", "tar", "script", "apt", "inside"]
    suite: str | None = None
    packages: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    file: str | None = None
    sha256: str | None = None
    timeout_s: float = 3600.0
