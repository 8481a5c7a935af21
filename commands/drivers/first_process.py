"""The first process of a jail: what its root is, asked of the kernel."""

from commands.drivers.base import Host, Source
from commands.drivers.mounts import is_from, parse_mounts, topmost


def root_is(host: Host, pid: int, source: Source) -> bool:
    """Whether the root of a process is ``source``: a directory by device and inode, anything else by its mount.

    A process that has died meanwhile has no root.
    """
    if source.kind == "bind":
        has = host.stat(f"/proc/{pid}/root", follow=True)
        wanted = host.stat(source.what, follow=True)
        return has is not None and wanted is not None and (has.device, has.inode) == (wanted.device, wanted.inode)
    if host.stat(f"/proc/{pid}/root", follow=True) is None:
        return False
    root = topmost(parse_mounts(host.read(f"/proc/{pid}/mountinfo").decode(errors="surrogateescape")), "/")
    return root is not None and is_from(host, root, source)
