"""The file half of a host without Python, as small scripts for its /bin/sh; nothing in them is longer than a screen.

They keep to what both Linux (coreutils) and FreeBSD have. Words of a command line are never part of a script: they are
its parameters. Where the two systems differ, each has its own line in ``Dialect``.
"""

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from commands.drivers.base import Stat
from commands.errors import DriverError


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a system spells what POSIX leaves open: a script, or the first words of a command, for each."""

    stat: tuple[str, ...]
    stat_followed: tuple[str, ...]
    device: str
    rename: str
    sync_files: str
    sync_file_system: tuple[str, ...]
    tree_digest: str


def _digest_script(listing: str, digesting: str) -> str:
    """Parameter: a directory. A listing that fails is no shorter listing: there is no pipefail in POSIX."""
    return (
        'set -efu; cd "$1"; export LC_ALL=C; '
        f"found=$( {{ {{ {listing} || echo failed >&3; }} | {digesting}; }} 3>&1 ); "
        'case $found in *failed*) exit 1;; esac; echo "$found"'
    )


LINUX = Dialect(
    stat=("stat", "-c", "%d %i %f %u %s %t %T", "--"),
    stat_followed=("stat", "-L", "-c", "%d %i %f %u %s %t %T", "--"),
    device="stat -c %d --",
    rename="mv -T --",
    sync_files="sync --",
    sync_file_system=("sync", "-f", "--"),
    tree_digest=_digest_script(r"find . -xdev -printf '%m %y %U %G %s %i %T@ %C@ %P\0'", "sort -z | sha256sum"),
)
#: fsync(1), and mv -h: do not follow a symlink to a directory (mv(1) of FreeBSD).
FREEBSD = Dialect(
    stat=("stat", "-f", "%d %i %Xp %u %z %XHr %XLr", "--"),
    stat_followed=("stat", "-L", "-f", "%d %i %Xp %u %z %XHr %XLr", "--"),
    device="stat -f %d --",
    rename="mv -h --",
    sync_files="fsync --",
    sync_file_system=("/bin/sh", "-c", "exec sync", "sh"),
    tree_digest=_digest_script("find . -xdev -exec stat -f '%p %u %g %z %i %r %Fm %Fc %N' {} +", "sort | sha256"),
)


def write_script(dialect: Dialect) -> str:
    """Parameters: directory, name, mode. The content comes as standard input. Atomic and durable."""
    return (
        'set -Cefu; umask 077; new="$1/.$2.new"; rm -f -- "$new"; trap \'rm -f -- "$new"\' EXIT; '
        f'cat > "$new"; chmod "$3" "$new"; {dialect.sync_files} "$new"; '
        f'{dialect.rename} "$new" "$1/$2"; trap - EXIT; {dialect.sync_files} "$1"'
    )


def make_directory_script(dialect: Dialect) -> str:
    """Parameters: mode, then the directories, the outermost first; what is there already stays as it is."""
    return (
        'set -efu; mode=$1; shift; for d do [ -d "$d" ] && continue; mkdir -m "$mode" -- "$d"; '
        f'{dialect.sync_files} "$(dirname -- "$d")"; done'
    )


def remove_script(dialect: Dialect) -> str:
    """Parameters: path, its directory. A file, a symlink or an empty directory; already gone is success."""
    return (
        'set -efu; if [ -d "$1" ] && [ ! -L "$1" ]; then rmdir -- "$1"; '
        'elif [ -e "$1" ] || [ -L "$1" ]; then rm -f -- "$1"; else exit 0; fi; '
        f'{dialect.sync_files} "$2"'
    )


def rename_script(dialect: Dialect) -> str:
    """Parameters: old and new path, and their directories, which have to be on one file system."""
    return (
        'set -efu; if [ -e "$2" ] || [ -L "$2" ]; then echo "the new name exists already" >&2; exit 1; fi; '
        f'[ "$({dialect.device} "$3")" = "$({dialect.device} "$4")" ] || '
        '{ echo "the two are on different file systems" >&2; exit 1; }; '
        f'{dialect.rename} "$1" "$2"; {dialect.sync_files} "$3" "$4"'
    )


#: Parameters: root, then the components. Each is looked at below the one before; a symlink is refused.
RESOLVE = (
    'set -efu; at=$1; shift; [ -d "$at" ] && [ ! -L "$at" ] || { echo "$at is not a directory" >&2; exit 1; }; '
    'for part do at=$at/$part; if [ -L "$at" ]; then echo "$part is a symbolic link" >&2; exit 1; fi; '
    '[ -e "$at" ] || { echo "No such file or directory" >&2; exit 1; }; '
    '[ -d "$at" ] || [ -f "$at" ] || { echo "$part is neither a directory nor a file" >&2; exit 1; }; done'
)
#: Parameters: process, cgroup, signal. The process may have died since it was seen, and its number be another's.
SIGNAL = """\
while read -r line; do
    case $line in *"$2"*) kill -s "$3" "$1"; exit ;; esac
done <"/proc/$1/cgroup"
exit 1
"""
#: Parameters: directory. Names end with a zero byte, for they may hold anything else.
ENTRIES = 'if [ -d "$1" ]; then exec find -H "$1" -mindepth 1 -maxdepth 1 -print0; fi'


def parse_stat(path: str, line: str) -> Stat:
    """What ``stat`` prints in either dialect: device, inode, mode, owner, size, and the device that it stands for.

    The mode and the two halves of the device are hexadecimal. Raises DriverError.
    """
    found = re.fullmatch(r"(\d+) (\d+) ([0-9a-f]+) (\d+) (\d+) ([0-9a-f]+) ([0-9a-f]+)\n?", line)
    if found is None:
        raise DriverError(f"cannot look at {path}: stat prints something unknown")
    mode = int(found[3], 16)
    return Stat(
        device=int(found[1]),
        inode=int(found[2]),
        mode=stat.S_IMODE(mode),
        uid=int(found[4]),
        size_bytes=int(found[5]),
        is_directory=stat.S_ISDIR(mode),
        is_symlink=stat.S_ISLNK(mode),
        is_file=stat.S_ISREG(mode),
        rdev=os.makedev(int(found[6], 16), int(found[7], 16)),
    )


def parse_entries(directory: str, listing: str) -> tuple[str, ...]:
    """The sorted names in what ``ENTRIES`` prints."""
    prefix = directory.rstrip("/") + "/"
    return tuple(sorted(path.removeprefix(prefix) for path in listing.split("\0") if path))


def parse_dump(dump: str) -> bytes:
    """The bytes that ``od -An -v -tx1`` prints."""
    return bytes.fromhex(dump)


def parse_free(path: str, table: str) -> int:
    """The free bytes in what ``df -kP`` prints: the fourth column from the left, in KiB. Raises DriverError."""
    return _df_column(path, table, 3)


def parse_size(path: str, table: str) -> int:
    """The size in what ``df -kP`` prints: the second column from the left, in KiB. Raises DriverError."""
    return _df_column(path, table, 1)


def _df_column(path: str, table: str, number: int) -> int:
    found = re.search(r"\s(\d+)\s+(-?\d+)\s+(-?\d+)\s+\d+%", table)
    if found is None:
        raise DriverError(f"cannot ask for the space of {path}: df prints something unknown")
    return max(0, int(found[number])) * 1024


def components(path: str) -> Sequence[str]:
    """The parts of a path; empty ones and ``.`` are left out."""
    return [part for part in path.split("/") if part not in ("", ".")]
