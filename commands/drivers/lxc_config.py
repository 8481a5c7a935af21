"""The LXC configuration of a jail, as text. Pure: the same jail always gives the same file."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import PurePosixPath

from commands.drivers.base import JailSpec, MountedVolume, Network
from commands.errors import DriverError

#: What a jail's processes may not do even as root. The administrator's settings come later in the file and can clear
#: this with an empty ``lxc.cap.drop =``, for instance for a jail that runs systemd.
DROPPED_CAPABILITIES = (
    "audit_control", "audit_read", "block_suspend", "dac_read_search", "linux_immutable", "mac_admin", "mac_override",
    "mknod", "sys_admin", "sys_boot", "sys_module", "sys_pacct", "sys_rawio", "sys_time", "syslog", "wake_alarm",
)  # fmt: skip
#: Dropped as well where the network is the host's own.
_NETWORK_CAPABILITY = "net_admin"

#: LXC itself leaves PATH empty; the jail's own environment comes later and may say otherwise.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_HEADING = "# Written by rootswap at every start; settings of your own belong in the file that is included last."

#: Mounted over the read-only root on every start: directory, mode.
_SCRATCH = (("/run", "0755"), ("/tmp", "1777"))  # noqa: S108 the jail's own
#: Made by LXC itself, out of nothing.
_KERNEL = ("/dev", "/proc", "/sys")


def rendered(jail: JailSpec, directory: str) -> str:
    """The file that ``lxc-start`` reads for a jail whose files are in ``directory``.

    The command is not in it: LXC splits ``lxc.init.cmd`` at blanks and knows no quoting (5.0), so it has to be given
    on the command line. Raises DriverError for what LXC could not be told.
    """
    lines = [f"{key} = {_value(jail.name, key, value)}" for key, value in _settings(jail, directory)]
    return "\n".join([_HEADING, *lines, ""])


def cgroup_of(directory: str) -> str:
    """The cgroup of the jail whose files are in ``directory``; below it LXC makes those of monitor and processes.

    It is told from the cgroup of a jail of the same name that belongs to another directory, hence to somebody else.
    """
    name = PurePosixPath(directory).name
    return f"rootswap/{name}.{sha256(directory.encode()).hexdigest()[:8]}"


def _settings(jail: JailSpec, directory: str) -> Iterator[tuple[str, str]]:
    yield "lxc.uts.name", jail.name
    yield "lxc.rootfs.path", f"dir:{jail.root}"
    yield "lxc.rootfs.options", "ro"
    yield "lxc.rootfs.managed", "0"
    yield "lxc.autodev", "1"
    yield "lxc.tty.max", "0"
    yield "lxc.mount.auto", "proc:mixed sys:ro"
    yield from (("lxc.mount.entry", entry) for entry in _mounts(jail))
    yield "lxc.cgroup.dir", cgroup_of(directory)
    yield "lxc.signal.halt", jail.stop_signal
    yield "lxc.console.logfile", f"{directory}/console.log"
    yield "lxc.console.size", "auto"
    dropped = DROPPED_CAPABILITIES + ((_NETWORK_CAPABILITY,) if jail.network.kind == "host" else ())
    yield "lxc.cap.drop", " ".join(dropped)
    yield from _network(jail.network)
    yield "lxc.environment", f"PATH={DEFAULT_PATH}"
    yield from (("lxc.environment", f"{name}={value}") for name, value in jail.environment)
    if jail.settings is not None:
        yield "lxc.include", jail.settings


def _network(network: Network) -> Iterator[tuple[str, str]]:
    if network.kind == "host":
        yield "lxc.net.0.type", "none"
        return
    yield "lxc.net.0.type", "veth"
    yield "lxc.net.0.flags", "up"
    yield "lxc.net.0.name", network.interface or "eth0"
    if network.link is not None:
        yield "lxc.net.0.link", network.link
    if network.address is not None:
        yield f"lxc.net.0.{_family(network.address)}.address", network.address
    if network.gateway is not None:
        yield f"lxc.net.0.{_family(network.gateway)}.gateway", network.gateway


def _family(address: str) -> str:
    return "ipv6" if ":" in address else "ipv4"


def _mounts(jail: JailSpec) -> Iterator[str]:
    """Scratch file systems first, then the volumes, the outer before the inner."""
    taken = {volume.path.rstrip("/") for volume in jail.volumes}
    yield _entry("tmpfs", "/dev/shm", "tmpfs", "rw,nosuid,nodev,create=dir,mode=1777")  # noqa: S108 the jail's own
    for path, mode in _SCRATCH:
        if path not in taken:
            yield _entry("tmpfs", path, "tmpfs", f"rw,nosuid,nodev,mode={mode}")
    for volume in sorted(jail.volumes, key=lambda volume: PurePosixPath(volume.path).parts):
        _check_volume(jail, volume)
        yield _entry(volume.source, volume.path, "none", "bind,rw")


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


def _entry(source: str, path: str, kind: str, options: str) -> str:
    """A line as in fstab; the mount point without its leading slash is looked up inside the root."""
    return f"{_escaped(source)} {_escaped(path.strip('/'))} {kind} {options} 0 0"


def _escaped(path: str) -> str:
    return path.replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011")


def _value(name: str, key: str, value: str) -> str:
    """``value`` between quotes, of which LXC takes off exactly one pair, so that blanks at the ends survive."""
    if not value.isprintable():
        raise DriverError(f"cannot configure jail {name}: {key} would contain a control character")
    return f'"{value}"'
