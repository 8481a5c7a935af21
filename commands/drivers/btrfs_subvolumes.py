"""Btrfs subvolumes: what they are, what is nested in them, and how they go."""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from commands.drivers.base import Host
from commands.errors import DriverError

#: The inode of the root directory of every subvolume; no other file has it.
SUBVOLUME_INODE = 256

#: BTRFS_IOC_GET_SUBVOL_INFO and its answer: id, name, parent, directory, generation, flags, uuid, two more uuids,
#: ctransid, and what we do not read.
_GET_SUBVOL_INFO = 0x81F8943C
_SUBVOL_INFO = struct.Struct("=Q256xQQQQ16s32xQ152x")
_READ_ONLY = 1


class BtrfsHost(Host, Protocol):
    """A host whose file systems can be asked directly: without a process for each question, and for more."""

    def ioctl(self, path: str, request: int, size_bytes: int) -> bytes:
        """What the file system of a directory answers to a control request that only asks. Raises DriverError."""
        ...

    def snapshot_subvolume(self, source: str, directory: str, name: str) -> None:
        """A read-only snapshot of a subvolume as ``directory``/``name``, durable when it returns."""
        ...


@dataclass(frozen=True, slots=True)
class Subvolume:
    """A subvolume. ``changed`` is the number of the transaction of the file system that last changed its content.

    Unlike the generation that ``btrfs subvolume show`` prints, ``changed`` stays as it is when a snapshot is taken of
    the subvolume, when it is renamed and when the file system is balanced.
    """

    id: int
    uuid: str
    changed: int
    read_only: bool


def subvolume(host: BtrfsHost, path: str) -> Subvolume | None:
    """The subvolume whose root is ``path``; None if that is something else or nothing."""
    found = host.stat(path)
    if found is None or not found.is_directory or found.inode != SUBVOLUME_INODE:
        return None
    answer = host.ioctl(path, _GET_SUBVOL_INFO, _SUBVOL_INFO.size)
    number, _parent, _directory, _generation, flags, uuid, changed = _SUBVOL_INFO.unpack(answer)
    return Subvolume(number, uuid.hex(), changed, bool(flags & _READ_ONLY))


def delete_subvolume(host: BtrfsHost, path: str) -> None:
    """Delete a subvolume with all that is nested in it, durably. By numbers: names within may be hostile."""
    found = subvolume(host, path)
    if found is None:
        raise DriverError(f"cannot delete subvolume {path}: it is not one")
    for number in reversed([*_nested(host, path, found.id)]):
        host.run(["btrfs", "subvolume", "delete", "-i", str(number), path])
    host.run(["btrfs", "subvolume", "delete", "-c", path])


def flatten_subvolume(host: BtrfsHost, path: str) -> None:
    """Turn empty subvolumes nested in ``path`` into directories; refuse others.

    A snapshot shows a nested subvolume as an empty directory that cannot be deleted nor written. systemd makes empty
    ones (/var/lib/machines) wherever it is installed into a subvolume, so these have to be dealt with; content in
    others would be missing from each snapshot, and whoever made them must decide where it belongs.
    """
    found = subvolume(host, path)
    if found is None:
        raise DriverError(f"cannot look for subvolumes in {path}: it is not one itself")
    for number, inside in reversed([*_nested(host, path, found.id).items()]):
        nested = host.resolve_beneath(path, inside)
        if host.entries(nested):
            remedy = "let the recipe make a directory of it"
            raise DriverError(f"cannot take snapshots of {path}: {inside} is a subvolume with content", remedy=remedy)
        copy = str(PurePosixPath(nested).with_name(".rootswap-directory"))
        host.run(["cp", "-a", "-T", "--", nested, copy])
        host.run(["btrfs", "subvolume", "delete", "-i", str(number), path])
        host.rename(copy, nested)


def _nested(host: BtrfsHost, path: str, number: int) -> Mapping[int, str]:
    """The subvolumes nested in one, outermost first, with their paths in it."""
    return nested_in(number, host.run(["btrfs", "subvolume", "list", path]).stdout)


def nested_in(number: int, listing: str) -> dict[int, str]:
    """What ``btrfs subvolume list`` tells to be nested in a subvolume: numbers, outermost first, and paths in it."""
    lines = re.findall(r"^ID (\d+) gen \d+ top level (\d+) path (.*)$", listing, re.MULTILINE)
    paths = {int(child): path for child, _, path in lines}
    parents = {int(child): int(parent) for child, parent, _ in lines}
    below: dict[int, str] = {}
    level = {number}
    while level:
        level = {child for child, parent in parents.items() if parent in level and child not in below}
        below.update((child, paths[child].removeprefix(f"{paths.get(number, '')}/")) for child in sorted(level))
    return below
