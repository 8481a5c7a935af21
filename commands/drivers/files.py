"""The files behind the door: what LocalHost does with the file systems of the machine that we run on.

Only ``commands.drivers.host`` uses this. Every OSError leaves here as a DriverError with a sentence and a remedy.
"""

import ctypes
import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath

from commands.drivers.base import Stat
from commands.errors import DriverError

_CAUSES = {
    errno.ENOSPC: ("no space left", "free some space there and repeat the command"),
    errno.EDQUOT: ("the quota is used up", "raise the quota or free some space, and repeat the command"),
    errno.EROFS: ("the file system is read-only", "find out why (kernel log, mount options) and remount it read-write"),
    errno.EACCES: ("permission denied", "repeat the command as root"),
    errno.EPERM: ("operation not permitted", "repeat the command as root"),
    errno.EIO: ("input/output error", "look in the kernel log: the disk may be failing"),
}


def failure(sentence: str, error: OSError) -> DriverError:
    """The DriverError for an OSError: ``sentence``, the cause in plain words, and what to do about it."""
    cause, remedy = _CAUSES.get(error.errno or 0, ("", ""))
    plain = str(error.strerror or error)
    return DriverError(f"{sentence}: {cause or plain[:1].lower() + plain[1:]}", remedy=remedy)


@contextmanager
def told(sentence: str) -> Iterator[None]:
    """Turn an OSError of the body into a DriverError that starts with ``sentence``."""
    try:
        yield
    except OSError as error:
        raise failure(sentence, error) from error


class LocalFiles:
    """The file half of LocalHost. Paths are absolute."""

    def __init__(self) -> None:
        # Looked up now, so that nothing is loaded while a jail is down. Where there is no syncfs (FreeBSD): None.
        self._syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)

    def read(self, path: str) -> bytes:
        """The content of a file."""
        with told(f"cannot read {path}"), open(path, "rb") as file:
            return file.read()

    def write(self, path: str, content: bytes, mode: int = 0o600) -> None:
        """Replace a file atomically and durably; its mode is exactly ``mode``, whatever the umask."""
        self._replace(path, (content,), mode)

    def write_stream(self, path: str, chunks: Iterable[bytes], mode: int = 0o600) -> None:
        """As ``write``, for what is too long to be held in memory. Not in the Protocol Host."""
        self._replace(path, chunks, mode)

    def _replace(self, path: str, chunks: Iterable[bytes], mode: int) -> None:
        directory, name = os.path.split(path)
        temporary = os.path.join(directory, f".{name}.new")
        with told(f"cannot write {path}"):
            with suppress(FileNotFoundError):
                os.unlink(temporary)  # left by an engine that was killed
            try:
                _write_new(temporary, chunks, mode)
                os.rename(temporary, path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise
            _sync_directory(directory)

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """Make a directory and its missing parents, all with exactly ``mode``; what is there already stays as it is."""
        missing = []
        with told(f"cannot make directory {path}"):
            path = os.path.abspath(path)
            while not os.path.isdir(path):
                missing.append(path)
                path = os.path.dirname(path)
            for directory in reversed(missing):
                os.mkdir(directory, mode)
                os.chmod(directory, mode)
                _sync_directory(os.path.dirname(directory))

    def remove(self, path: str) -> None:
        """Remove a file, a symlink or an empty directory; already gone is success."""
        with told(f"cannot remove {path}"):
            try:
                if stat.S_ISDIR(os.lstat(path).st_mode):
                    os.rmdir(path)
                else:
                    os.unlink(path)
            except (FileNotFoundError, NotADirectoryError):
                return
            _sync_directory(os.path.dirname(path))

    def rename(self, old: str, new: str) -> None:
        """Rename within one file system; the new name must not exist."""
        with told(f"cannot rename {old} to {new}"):
            if os.path.lexists(new):
                raise FileExistsError(errno.EEXIST, "the new name exists already")
            os.rename(old, new)
            for directory in {os.path.dirname(old), os.path.dirname(new)}:
                _sync_directory(directory)

    def entries(self, path: str) -> tuple[str, ...]:
        """The sorted names in a directory; empty if there is no such directory."""
        with told(f"cannot list {path}"):
            try:
                return tuple(sorted(os.listdir(path)))
            except (FileNotFoundError, NotADirectoryError):
                return ()

    def stat(self, path: str, *, follow: bool = False) -> Stat | None:
        """What is at a path, or None; symlinks are looked at, not through, unless ``follow``."""
        with told(f"cannot look at {path}"):
            try:
                found = os.stat(path, follow_symlinks=follow)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return Stat(
            device=found.st_dev,
            inode=found.st_ino,
            mode=stat.S_IMODE(found.st_mode),
            uid=found.st_uid,
            size_bytes=found.st_size,
            is_directory=stat.S_ISDIR(found.st_mode),
            is_symlink=stat.S_ISLNK(found.st_mode),
            is_file=stat.S_ISREG(found.st_mode),
            rdev=found.st_rdev,
        )

    def read_link(self, path: str) -> str:
        """What a symlink says, as it is written."""
        with told(f"cannot read the symlink {path}"):
            return os.readlink(path)

    def resolve_beneath(self, root: str, path: str) -> str:
        """The host path of ``path`` inside ``root``; a leading slash means ``root``, a symlink or ``..`` is refused.

        Each component is opened relative to the one before, so nothing can be exchanged for a symlink under way.
        """
        parts = [part for part in path.split("/") if part not in ("", ".")]
        with told(f"cannot resolve {path} beneath {root}"):
            if ".." in parts:
                raise OSError(errno.EINVAL, "it leads upwards")
            at = os.open(root, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                for part in parts:
                    below = os.open(part, os.O_PATH | os.O_NOFOLLOW, dir_fd=at)
                    os.close(at)
                    at = below
                    _refuse_special(part, os.fstat(at).st_mode)
            finally:
                os.close(at)
        return str(PurePosixPath(root, *parts))

    def free_bytes(self, path: str) -> int:
        """Bytes that can still be written to the file system of ``path``; a reserve kept for root is not counted."""
        with told(f"cannot ask for the free space of {path}"):
            found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def size_bytes(self, path: str) -> int:
        """The size of the file system of ``path``. Not in the Protocol Host."""
        with told(f"cannot ask for the size of the file system of {path}"):
            found = os.statvfs(path)
        return found.f_blocks * found.f_frsize

    def tree_digest(self, path: str) -> str:
        """A digest of what the file system tells of each file in a directory; nothing is read or followed.

        Of what is mounted in it only the place counts. Not in the Protocol Host: on another machine, each look would
        be a message.
        """
        with told(f"cannot look over {path}"):
            return _tree_digest(path)

    def sync(self, path: str) -> None:
        """Make everything written to the file system of ``path`` durable."""
        with told(f"cannot sync the file system of {path}"):
            if self._syncfs is None:
                os.sync()
                return
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                if self._syncfs(descriptor) != 0:
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            finally:
                os.close(descriptor)


def _tree_digest(path: str) -> str:
    """SHA-256 over a line for each file, in an order that is always the same; a name cannot look like another line."""
    digest = hashlib.sha256()
    root = os.lstat(path)
    todo = [(b"", root)]
    while todo:
        inside, found = todo.pop()
        numbers = (found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_ino, found.st_rdev)
        times = (found.st_mtime_ns, found.st_ctime_ns)
        digest.update(b"%b\0%b\n" % (inside, " ".join(map(str, (*numbers, *times))).encode()))
        if stat.S_ISDIR(found.st_mode) and found.st_dev == root.st_dev:
            with os.scandir(os.path.join(os.fsencode(path), inside)) as entries:
                below = [(os.path.join(inside, one.name), one.stat(follow_symlinks=False)) for one in entries]
            todo += sorted(below, key=lambda entry: entry[0])
    return digest.hexdigest()


def _write_new(path: str, chunks: Iterable[bytes], mode: int) -> None:
    """Write a file that must not exist, not even as a symlink, and make its content durable."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o600), "wb") as file:
        file.writelines(chunks)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def _refuse_special(name: str, mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, f"{name} is a symbolic link")
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise OSError(errno.EINVAL, f"{name} is neither a directory nor a file")


def _sync_directory(path: str) -> None:
    """Make the names in a directory durable; where nothing is kept, as among cgroups, that is EINVAL, see fsync(2)."""
    descriptor = os.open(path or "/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)
