"""What takes minutes to make is made once and kept outside of the repository; absent, it is made again."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

#: Kernel modules, the system of the guest, its disk, and the memory of a booted guest.
CACHE = Path(os.environ.get("ROOTSWAP_VM_CACHE", "/var/cache/rootswap-vm"))

_UNUSED_S = 7 * 86400


def key_of(*parts: str | bytes) -> str:
    """A short name for what was made from ``parts``."""
    digest = sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(content)}:".encode() + content)
    return digest.hexdigest()[:16]


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """The thing called ``name`` in the cache, made by ``make`` unless it is there: see ``made_once``."""
    CACHE.mkdir(parents=True, exist_ok=True, mode=0o755)
    path = CACHE / name
    is_new = made_once(path, make)
    os.utime(path)
    if is_new:
        _forget_unused()
    return path


def made_once(path: Path, make: Callable[[Path], None]) -> bool:
    """Have a file or a directory made by ``make``, at the path it is given, unless it is there; True if it was not.

    It gets its name only when it is whole, so one that was interrupted is made anew; whoever comes second waits for
    the first.
    """
    with locked(path.with_name(f".{path.name}.lock")):
        if path.exists():
            return False
        draft = path.with_name(f".{path.name}.draft")
        discard(draft)
        make(draft)
        draft.rename(path)
        return True


def discard(path: Path) -> None:
    """Remove a file or a tree, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _forget_unused() -> None:
    """Remove what nobody has asked for in a while; another checkout may be at work with what it was made from."""
    for path in CACHE.glob("[!.]*-*"):
        if time.time() - path.stat().st_mtime > _UNUSED_S:
            discard(path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Have ``path`` locked for one process at a time."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
