"""Trees of files: copying them with all that belongs to them, and deleting them."""

from typing import Protocol

from commands.drivers.base import Host

#: A large tree on a slow disk; a hang is noticed some day.
_TREE_TIMEOUT_S = 4 * 3600.0


class TreeHost(Host, Protocol):
    """A host that can look at each file of a tree without a process for it."""

    def tree_digest(self, path: str) -> str:
        """A digest of the names, kinds, owners, modes, sizes, inodes and times of all that is in a directory."""
        ...

    def size_bytes(self, path: str) -> int:
        """The size of the file system of ``path``."""
        ...


def copy_tree(host: Host, origin: str, target: str) -> None:
    """Copy the content of a directory into ``target``, which may be there and empty.

    Owners, modes, times, symlinks as they are, device files, sparse files, hard links within the tree, ACLs and other
    extended attributes are kept; where the file system can share the blocks (Btrfs, XFS) no data is copied. What is
    mounted inside ``origin`` is not. Raises DriverError when anything of it cannot be kept, so on a file system
    without extended attributes: `cp -a` alone would lose them, and with them file capabilities, without a word.
    """
    keep = ["-a", "--preserve=xattr", "--reflink=auto", "--one-file-system"]
    host.run(["cp", *keep, "-T", "--", origin, target], timeout_s=_TREE_TIMEOUT_S)


def delete_tree(host: Host, path: str) -> None:
    """Delete a directory with all that is in it, following no symlink and entering nothing that is mounted in it.

    It may be killed half way and begun again.
    """
    host.run(["rm", "-r", "-f", "--one-file-system", "--", path], timeout_s=_TREE_TIMEOUT_S)
