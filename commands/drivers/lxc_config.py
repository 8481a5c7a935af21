"""The LXC configuration of a jail, as text. Pure: the same jail always gives the same file."""

from collections.abc import Iterator

from commands.drivers.base import JailSpec, Network
from commands.drivers.jail_layout import DEFAULT_PATH, cgroup_of, dropped_capabilities, ordered_volumes, scratch
from commands.errors import DriverError

_HEADING = "# Written by rootswap at every start; settings of your own belong in the file that is included last."


def rendered(jail: JailSpec, directory: str) -> str:
    """The file that ``lxc-start`` reads for a jail whose files are in ``directory``.

    The command is not in it: LXC splits ``lxc.init.cmd`` at blanks and knows no quoting (5.0), so it has to be given
    on the command line. Raises DriverError for what LXC could not be told.
    """
    lines = [f"{key} = {_value(jail.name, key, value)}" for key, value in _settings(jail, directory)]
    return "\n".join([_HEADING, *lines, ""])


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
    # The administrator's settings can clear the list with an empty ``lxc.cap.drop =``.
    yield "lxc.cap.drop", " ".join(dropped_capabilities(jail.network))
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
    yield _entry("tmpfs", "/dev/shm", "tmpfs", "rw,nosuid,nodev,create=dir,mode=1777")  # noqa: S108 the jail's own
    for path, mode in scratch(jail):
        yield _entry("tmpfs", path, "tmpfs", f"rw,nosuid,nodev,mode={mode}")
    for volume in ordered_volumes(jail):
        yield _entry(volume.source, volume.path, "none", "bind,rw")


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
