"""The configuration: what the administrator declares in TOML, checked at the door.

This module holds the shapes; nothing below it reads a file or the environment.
"""

import re
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from commands.errors import UsageError
from ledger.names import Name

#: Longer than any wait that somebody can have meant.
_WEEK_S = 604800.0
#: More good answers in a row than anybody can want.
_MOST_SUCCESSES = 1000
_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def _parse_size(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"{value} is not a size: a number and one of K, M, G, T, as in 20G")
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d{1,15})\s*([KMGT]?)(?:iB)?", value.strip())
    if match is None:
        raise ValueError(f"{value[:60]!r} is not a size: a number and one of K, M, G, T, as in 20G")
    return int(match[1]) * _SIZES[match[2]]


def _check_path(value: object) -> object:
    if isinstance(value, str) and (not value.startswith("/") or ".." in value.split("/") or "\n" in value):
        raise ValueError(f"{value!r} is not an absolute path without '..'")
    # One spelling for one place: the mount table, the cgroups and the settled states are compared with it.
    return (
        "/" + "/".join(part for part in value.split("/") if part not in ("", ".")) if isinstance(value, str) else value
    )


#: More than any disk has.
_EXBIBYTE = 1 << 60

Size = Annotated[int, BeforeValidator(_parse_size), Field(ge=0, le=_EXBIBYTE)]
#: A number as TOML has them: neither true nor "3".
Seconds = Annotated[float, Field(gt=0, le=_WEEK_S, strict=True, allow_inf_nan=False)]
Path = Annotated[str, BeforeValidator(_check_path)]


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

#: Longer than anybody waits for an approval.
_YEAR_H = 8784.0
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d|24:00")


def _check_time(value: object) -> object:
    if isinstance(value, str) and not _TIME.fullmatch(value):
        raise ValueError(f"{value[:60]!r} is not a time of day, from 00:00 to 24:00")
    return value


TimeOfDay = Annotated[str, BeforeValidator(_check_time)]
Hours = Annotated[float, Field(gt=0, le=_YEAR_H, strict=True, allow_inf_nan=False)]


class Section(BaseModel):
    """A table of the configuration; an unknown key is an error, for it is most likely a misspelt one."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class HostConfig(Section):
    """The machine that the jails run on: this one, or the one at the other end of ``ssh``, where paths then are too.

    ``ssh_config`` is a file for ssh(1) instead of the user's; ``patience_s`` is how long a connection is tried.
    """

    ssh: str | None = None
    ssh_config: Path | None = None
    patience_s: float = Field(default=60.0, ge=0, le=_WEEK_S, strict=True, allow_inf_nan=False)


class StorageConfig(Section):
    """Where templates, releases and volumes live.

    ``zfs``: a ``dataset`` that rootswap makes in a zpool that is there, and mounts at ``path``.
    ``btrfs``: a mounted Btrfs, or an ``image`` that rootswap makes and mounts. ``directory``: any directory. ``lvm``: a
    ``thin_pool``, with ``path`` for its mount points; ``file_system`` and the sizes are for what is made from now on.
    """

    driver: Literal["btrfs", "directory", "lvm", "zfs"] = "btrfs"
    path: Path = "/var/lib/rootswap/pool"
    dataset: str | None = None
    image: Path | None = None
    size: Size = 20 << 30
    keep_free: Size = 512 << 20
    thin_pool: str | None = None
    file_system: Literal["ext4", "xfs"] = "ext4"
    root_size: Size = 10 << 30
    volume_size: Size = 10 << 30


class TemplateConfig(Section):
    """How a template is built from nothing and how it is upgraded."""

    bootstrap: Literal["debian", "tar", "script"]
    suite: str | None = None
    packages: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    file: Path | None = None
    sha256: str | None = None
    upgrade: Literal["apt", "script"] = "apt"
    upgrade_script: Path | None = None
    timeout_s: Seconds = 3600.0


class NetworkConfig(Section):
    """``host`` shares the host's network; ``veth`` gives the jail an interface of its own."""

    kind: Literal["host", "veth"] = "host"
    link: str | None = None
    interface: str | None = None
    address: str | None = None
    gateway: str | None = None


class HealthConfig(Section):
    """One health check: exactly one of ``http``, ``tcp`` and ``command``."""

    http: str | None = None
    expect_status: int = Field(default=200, ge=100, le=599, strict=True)
    tcp: str | None = None
    command: tuple[str, ...] | None = None
    timeout_s: Seconds = 30.0
    interval_s: Seconds = 0.005
    successes: int = Field(default=1, ge=1, le=_MOST_SUCCESSES, strict=True)


class WindowConfig(Section):
    """When changes may be made, week by week: on ``days``, from ``opens`` to ``closes``, into the next day if need be.

    A window belongs to the day on which it opens. The times are those of the clocks in ``time_zone``.
    """

    days: tuple[Day, ...] = DAYS
    opens: TimeOfDay
    closes: TimeOfDay
    time_zone: str | None = None


class FreezeConfig(Section):
    """No changes from ``begins`` until before ``ends``, window or not."""

    begins: AwareDatetime
    ends: AwareDatetime
    reason: str = Field(min_length=1)


class JailPolicyConfig(Section):
    """What holds for one jail instead of ``[policy]``; its freezes hold beside the global ones.

    Windows of its own take the place of the global ones, and ``anytime`` takes them away.
    """

    require_approval: bool | None = None
    self_approval: bool | None = None
    anytime: bool = False
    windows: dict[Name, WindowConfig] = {}
    freezes: dict[Name, FreezeConfig] = {}


class PolicyConfig(Section):
    """Who has to agree to a change, and when changes may be made. Without it, nobody is asked."""

    require_approval: bool = False
    self_approval: bool = False
    plan_expires_h: Hours = 72.0
    settle_within_h: Hours = 48.0
    time_zone: str = "UTC"
    windows: dict[Name, WindowConfig] = {}
    freezes: dict[Name, FreezeConfig] = {}


class JailConfig(Section):
    """One production unit: its template, what runs in it, its volumes and its health checks."""

    template: Name
    driver: Literal["lxc", "oci", "nspawn", "jail"] = "lxc"
    runtime: str | None = None
    command: tuple[str, ...]
    volumes: dict[Name, Path] = {}
    quotas: dict[Name, Size] = {}
    network: NetworkConfig = NetworkConfig()
    environment: dict[str, str] = {}
    stop_signal: str = "SIGTERM"
    stop_timeout_s: Seconds = 10.0
    start_timeout_s: Seconds = 30.0
    settings: Path | None = None
    health: dict[Name, HealthConfig] = {}
    budget_s: Seconds = 900.0
    environment_file: Path | None = None
    policy: JailPolicyConfig = JailPolicyConfig()


class SinkConfig(Section):
    """Where signed checkpoints are copied: exactly one of ``directory``, ``syslog`` and ``command``.

    A sink that is ``required`` and down is a refusal to begin; any other is a warning.
    """

    directory: Path | None = None
    syslog: str | None = None
    command: tuple[str, ...] | None = None
    required: bool = False
    timeout_s: Seconds = 10.0


class AuditConfig(Section):
    """What makes the ledger provable to others."""

    sinks: dict[Name, SinkConfig] = {}


class Config(Section):
    """The whole configuration."""

    state_directory: Path = "/var/lib/rootswap"
    host: HostConfig = HostConfig()
    storage: StorageConfig = StorageConfig()
    template: dict[Name, TemplateConfig] = {}
    jail: dict[Name, JailConfig] = {}
    audit: AuditConfig = AuditConfig()
    policy: PolicyConfig = PolicyConfig()

    @property
    def keys_directory(self) -> str:
        """Where the private keys are that sign checkpoints: beside the ledger, not in it."""
        return f"{self.state_directory}/keys"

    @property
    def sinks_directory(self) -> str:
        """Where the positions of the sinks are."""
        return f"{self.state_directory}/sinks"

    @property
    def ssh_directory(self) -> str:
        """Where the connection to another host is."""
        return f"{self.state_directory}/ssh"

    @property
    def ledger_directory(self) -> str:
        """Where the ledger is: outside every root that a transaction can swap."""
        return f"{self.state_directory}/ledger"

    def find_jail(self, name: str) -> JailConfig:
        """The jail of that name. Raises UsageError."""
        if name not in self.jail:
            known = ", ".join(sorted(self.jail)) or "none"
            raise UsageError(
                f"cannot find jail {name[:60]!r} in the configuration", remedy=f"configured jails: {known}"
            )
        return self.jail[name]

    def find_template(self, name: str) -> TemplateConfig:
        """The template of that name. Raises UsageError."""
        if name not in self.template:
            known = ", ".join(sorted(self.template)) or "none"
            raise UsageError(
                f"cannot find template {name[:60]!r} in the configuration", remedy=f"configured templates: {known}"
            )
        return self.template[name]
