"""What a jail looks like from inside, whatever runtime it runs under: its file systems and what it may not do. Pure."""

from hashlib import sha256
from pathlib import PurePosixPath

from commands.drivers.base import JailSpec, MountedVolume, Network
from commands.errors import DriverError

#: What a jail's processes may not do even as root. The administrator's settings come last and can give it back, for
#: instance to a jail that runs systemd.
DROPPED_CAPABILITIES = (
    "audit_control", "audit_read", "block_suspend", "dac_read_search", "linux_immutable", "mac_admin", "mac_override",
    "mknod", "sys_admin", "sys_boot", "sys_module", "sys_pacct", "sys_rawio", "sys_time", "syslog", "wake_alarm",
)  # fmt: skip
#: Dropped as well where the network is the host's own.
_NETWORK_CAPABILITY = "net_admin"

#: No runtime gives a useful one; the jail's own environment comes later and may say otherwise.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: Mounted over the read-only root on every start: directory, mode.
_SCRATCH = (("/run", "0755"), ("/tmp", "1777"))  # noqa: S108 the jail's own
#: Made by the runtime itself, out of nothing.
_KERNEL = ("/dev", "/proc", "/sys")


def cgroup_of(directory: str) -> str:
    """The cgroup of the jail whose files are in ``directory``; below it are those of its processes and helpers.

    It is told from the cgroup of a jail of the same name that belongs to another directory, hence to somebody else.
    """
    return f"rootswap/{PurePosixPath(directory).name}.{digest_of(directory)}"


def digest_of(directory: str) -> str:
    """Eight digits that tell the jail whose files are in ``directory`` from its namesakes."""
    return sha256(directory.encode()).hexdigest()[:8]


def dropped_capabilities(network: Network) -> tuple[str, ...]:
    """The capabilities that a jail with this network does not have."""
    return DROPPED_CAPABILITIES + ((_NETWORK_CAPABILITY,) if network.kind == "host" else ())


def scratch(jail: JailSpec) -> tuple[tuple[str, str], ...]:
    """Where a fresh tmpfs is mounted on every start, and its mode; a volume may take the place of each."""
    taken = {volume.path.rstrip("/") for volume in jail.volumes}
    return tuple((path, mode) for path, mode in _SCRATCH if path not in taken)


def ordered_volumes(jail: JailSpec) -> tuple[MountedVolume, ...]:
    """The volumes, the outer before the inner. Raises DriverError for one that has no place in the jail."""
    for volume in jail.volumes:
        _check_volume(jail, volume)
    return tuple(sorted(jail.volumes, key=lambda volume: PurePosixPath(volume.path).parts))


def _check_volume(jail: JailSpec, volume: MountedVolume) -> None:
    path = PurePosixPath(volume.path)
    hidden = any(path.is_relative_to(top) for top in _KERNEL) or any(
        PurePosixPath(top) in path.parents for top, _ in _SCRATCH
    )
    if not path.is_absolute() or ".." in path.parts or path == PurePosixPath("/") or hidden:
        remedy = "name a directory of the root, outside of /dev, /proc, /sys and not below /run or /tmp"
        raise DriverError(
            f"cannot mount a volume of jail {jail.name} at {volume.path}: no place for one", remedy=remedy
        )
    if not volume.source.startswith("/"):
        raise DriverError(f"cannot mount {volume.source} in jail {jail.name}: it is not an absolute path")
