"""Which files of the administrator's may be run or obeyed as root."""

from pathlib import PurePosixPath

from commands.drivers.base import Host
from commands.errors import DriverError

_OTHERS_WRITE = 0o022
_STICKY = 0o1000


def require_trusted(host: Host, path: str) -> None:
    """Raise DriverError unless ``path`` is a plain file that nobody but root can change or exchange for another."""
    pure = PurePosixPath(path)
    if not pure.is_absolute() or ".." in pure.parts:
        raise DriverError(f"cannot use {path}: it is not an absolute path", remedy="write the whole path, without ..")
    for directory in reversed(pure.parents):
        _require_owned(host, str(directory), is_directory=True)
    _require_owned(host, str(pure), is_directory=False)


def _require_owned(host: Host, path: str, *, is_directory: bool) -> None:
    found = host.stat(path)
    if found is None:
        raise DriverError(f"cannot use {path}: it is not there")
    if not (found.is_directory if is_directory else found.is_file):
        kind = "directory" if is_directory else "plain file"
        raise DriverError(f"cannot use {path}: it is not a {kind}", remedy="name the file itself, not a symlink to it")
    # In a sticky directory such as /tmp nobody can replace what belongs to root.
    writable = found.mode & _OTHERS_WRITE and not (is_directory and found.mode & _STICKY)
    if found.uid != 0 or writable:
        remedy = f"chown root {path}; chmod go-w {path}"
        raise DriverError(f"cannot use {path}: others than root can change it", remedy=remedy)
