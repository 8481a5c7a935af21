"""Looks over the next root of a jail while the old one still serves, so that what must fail fails before the switch."""

from commands.drivers.base import Host, JailSpec
from commands.drivers.loading import load_command
from commands.drivers.platform import System
from commands.errors import DriverError

#: What every jail runtime mounts on.
MOUNT_POINTS = ("/proc", "/sys", "/dev", "/run", "/tmp")  # noqa: S108 the jail's own
#: jail(8) mounts by itself what the jail's mount.devfs says; all else is in jail.conf.
FREEBSD_MOUNT_POINTS = ("/dev",)
#: As many as the kernel follows.
_SYMLINKS = 40
_ANY_EXECUTE = 0o111


def inspect_root(host: Host, root: str, jail: JailSpec, system: System = "Linux") -> None:
    """Raise DriverError, telling why, if the jail could not start on ``root``.

    Every place that something will be mounted on has to be a real directory, under real directories: a runtime that
    followed a symlink there would mount somewhere else. The command has to be an executable file inside the root,
    with all its libraries (which on FreeBSD are not looked at: there is no loader that only lists them in a namespace
    of its own).
    """
    for path in [
        *(MOUNT_POINTS if system == "Linux" else FREEBSD_MOUNT_POINTS),
        *(volume.path for volume in jail.volumes),
    ]:
        _require_directory(host, root, path, jail)
    program = _required_command(host, root, jail)
    if system == "Linux":
        load_command(host, root, jail, program)


def _require_directory(host: Host, root: str, path: str, jail: JailSpec) -> None:
    remedy = f"make {path} a directory in the template"
    try:
        found = host.stat(host.resolve_beneath(root, path))
    except DriverError as error:
        raise DriverError(f"cannot run jail {jail.name} on {root}: {error.message}", remedy=remedy) from error
    if found is None or not found.is_directory:
        raise DriverError(f"cannot run jail {jail.name} on {root}: {path} is not a directory", remedy=remedy)


def _required_command(host: Host, root: str, jail: JailSpec) -> bytes:
    """The content of the jail's program."""
    if not jail.command:
        raise DriverError(f"cannot run jail {jail.name} on {root}: it has no command")
    command = jail.command[0]
    file = path_inside(host, root, command)
    found = host.stat(file)
    if found is None:
        cause = "is not there"
    elif not found.is_file:
        cause = "is not a file"
    elif not found.mode & _ANY_EXECUTE:
        cause = "is not executable"
    else:
        return host.read(file)
    remedy = f"mend command of the jail, or put {command} into the template"
    raise DriverError(f"cannot run jail {jail.name} on {root}: its command {command} {cause}", remedy=remedy)


def path_inside(host: Host, root: str, path: str) -> str:
    """Where ``path`` leads for a process whose root is ``root``, as a path of the host; symlinks are followed.

    Only for a root that does not change meanwhile. What is missing on the way is kept as it is written. Raises
    DriverError for symlinks that lead in a circle.
    """
    done: list[str] = []
    todo = path.split("/")[::-1]
    followed = 0
    while todo:
        part = todo.pop()
        if part == "..":
            del done[-1:]
        elif part not in ("", "."):
            here = "/".join([root, *done, part])
            found = host.stat(here)
            if found is None or not found.is_symlink:
                done.append(part)
                continue
            followed += 1
            if followed > _SYMLINKS:
                raise DriverError(f"cannot find {path} in {root}: its symlinks lead in a circle")
            target = host.read_link(here)
            if target.startswith("/"):
                done.clear()
            todo += target.split("/")[::-1]
    return "/".join([root, *done])
