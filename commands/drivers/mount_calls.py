"""The kernel's own calls for what is mounted, without the process of mount(8) or umount(8).

They are for what is done while a jail is down, and only for what needs no device to answer: a call that hangs in the
kernel cannot be given up, as a command can. See mount(2) and umount(2).
"""

import ctypes
import os

_MS_MOVE = 0x2000
_UMOUNT_NOFOLLOW = 8


def move(old: str, new: str) -> None:
    """Move the mount at ``old`` to ``new``. Raises OSError."""
    _checked(_library().mount(os.fsencode(old), os.fsencode(new), None, ctypes.c_ulong(_MS_MOVE), None))


def detach(path: str) -> None:
    """Unmount the topmost mount at ``path``, through no symlink. Raises OSError."""
    _checked(_library().umount2(os.fsencode(path), _UMOUNT_NOFOLLOW))


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
