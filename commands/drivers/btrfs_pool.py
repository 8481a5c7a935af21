"""The pool of the Btrfs driver: an image of our own or a mount of the administrator's, and the layout on it.

Two marks. ``IMAGE.rootswap`` beside the image says that the file is ours, from before it exists. ``.rootswap-pool`` on
the file system says the same of the directory ``rootswap`` there. Each says ``building`` until the whole pool is there;
that of the image turns first, so a file system is only ever made anew on an image that has never held a finished pool.
"""

import os
import re

from commands.drivers.base import PoolSpec, Presence, Space
from commands.drivers.layout import PoolLayout, foreign_pool
from commands.drivers.marks import read_mark, write_mark
from commands.drivers.mounts import mounted, topmost
from commands.drivers.objects import HOME
from commands.errors import DriverError, Foreign

MIB = 1024 * 1024
#: Smaller ones leave Btrfs no room for its own needs.
SMALLEST_IMAGE_BYTES = 256 * MIB
#: The image is sparse: it takes space as it fills. Less than this to begin with is not worth the try.
_FREE_BYTES = 1024 * MIB


class BtrfsPool(PoolLayout):
    """Where everything lies: on a Btrfs that is mounted at the path of the pool."""

    def pool_presence(self, pool: PoolSpec) -> Presence:
        """Whether the pool is laid out and ours; PARTIAL when its creation was interrupted or it is not mounted."""
        where = self.pool_mounted(pool)
        if where is Presence.FOREIGN:
            return where
        if pool.image is not None:
            image = self._image_presence(pool.image)
            if image is not Presence.PRESENT:
                return image
        if where is Presence.ABSENT:
            return Presence.PARTIAL if pool.image is not None else Presence.ABSENT
        return self._layout_presence(pool)

    def _image_presence(self, image: str) -> Presence:
        """Whether there is an image that is ours, in whatever state."""
        mark, file = read_mark(self._host, _image_mark(image), image), self._host.stat(image)
        if mark == "foreign" or (mark == "none" and file is not None) or (file is not None and not file.is_file):
            return Presence.FOREIGN
        if mark == "none":
            return Presence.ABSENT
        return Presence.PARTIAL if file is None else Presence.PRESENT

    def _make_ground(self, pool: PoolSpec) -> None:
        """Make the image where asked and mount it; without one, a Btrfs must be mounted at the path."""
        if pool.image is not None:
            self._make_image(pool, pool.image)
        self.mount_pool(pool)

    def _seal_ground(self, pool: PoolSpec) -> None:
        if pool.image is not None:
            write_mark(self._host, _image_mark(pool.image), pool.image, "built")

    def _make_image(self, pool: PoolSpec, image: str) -> None:
        """Make the image with a file system, unless there is a finished or mounted one."""
        if self._holds_finished(image) or self.pool_mounted(pool) is Presence.PRESENT:
            return
        if pool.size_bytes is None or pool.size_bytes < SMALLEST_IMAGE_BYTES:
            remedy = f"set size_bytes to {SMALLEST_IMAGE_BYTES} or more"
            raise DriverError(f"cannot create pool image {image}: it has no size or too small a one", remedy=remedy)
        self._host.make_directory(os.path.dirname(image))
        needed, free = min(pool.size_bytes, _FREE_BYTES), self._host.free_bytes(os.path.dirname(image))
        if free < needed:
            cause = f"{free // MIB} MiB are free where it is to be, {needed // MIB} are needed"
            raise DriverError(f"cannot create pool image {image}: {cause}", remedy="free some space there")
        write_mark(self._host, _image_mark(image), image, "building")
        if self._host.stat(image) is None:
            self._host.write(image, b"", 0o600)
        self._host.run(["truncate", "-s", str(pool.size_bytes), "--", image])
        self._host.run(["mkfs.btrfs", "-f", "-q", "-L", "rootswap", "--", image], timeout_s=600)
        self._host.sync(os.path.dirname(image))

    def destroy_pool(self, pool: PoolSpec) -> None:
        """Undo ``create_pool``; refuses a pool that holds anything. An empty mount point stays."""
        match self.pool_presence(pool):
            case Presence.ABSENT:
                return
            case Presence.FOREIGN:
                raise foreign_pool("remove", pool)
            case Presence.PRESENT | Presence.PARTIAL:
                pass
        if pool.image is not None and self._holds_finished(pool.image):
            self.mount_pool(pool)  # to see whether it is empty
        if self.pool_mounted(pool) is Presence.PRESENT:
            self._clear_layout(pool)
        if pool.image is not None:
            self.unmount_pool(pool)
            self._host.remove(pool.image)
            self._host.remove(_image_mark(pool.image))

    def _holds_finished(self, image: str) -> bool:
        """Whether the image has ever held a finished pool, so that there may be something in it."""
        return read_mark(self._host, _image_mark(image), image) == "built" and self._host.stat(image) is not None

    def _clear_layout(self, pool: PoolSpec) -> None:
        self._require_empty(pool)
        stray = set(self._host.entries(pool.path)) - {HOME} if pool.image is not None else set()
        if stray:
            raise DriverError(f"cannot remove the pool at {pool.path}: it holds {min(stray)}, which is not ours")
        self._remove_layout(pool)

    def pool_mounted(self, pool: PoolSpec) -> Presence:
        """Whether the pool is mounted where it belongs; FOREIGN when something else is mounted there."""
        top = topmost(mounted(self._host), pool.path)
        if top is None:
            return Presence.ABSENT
        if top.kind != "btrfs":
            return Presence.FOREIGN
        if pool.image is None:
            return Presence.PRESENT
        backing = f"/sys/block/{os.path.basename(top.source)}/loop/backing_file"
        ours = self._host.stat(backing) is not None and self._host.read(backing) == pool.image.encode() + b"\n"
        return Presence.PRESENT if ours and top.root == "/" else Presence.FOREIGN

    def mount_pool(self, pool: PoolSpec) -> None:
        """Mount the pool's image; mounted already is success, so that it never gets a second loop device.

        Not ``nodev``: a template is built and upgraded in a chroot, with device files of its own. Not ``nosuid``: jails
        need set-user-id programs. What the pool holds is beneath a directory that only root can enter.
        """
        match self.pool_mounted(pool):
            case Presence.PRESENT:
                return
            case Presence.FOREIGN:
                raise foreign_pool("mount", pool)
            case Presence.ABSENT | Presence.PARTIAL:
                pass
        if pool.image is None:
            remedy = "mount a Btrfs there, or configure an image"
            raise DriverError(f"cannot use the pool at {pool.path}: no Btrfs is mounted there", remedy=remedy)
        if self._image_presence(pool.image) is not Presence.PRESENT:
            raise Foreign(f"cannot mount pool image {pool.image}: it is missing or not ours")
        self._host.make_directory(pool.path)
        self._host.resolve_beneath("/", pool.path)
        self._host.run(["mount", "-t", "btrfs", "-o", "loop,noatime", "--", pool.image, pool.path])

    def unmount_pool(self, pool: PoolSpec) -> None:
        """Unmount the pool's image; a mount of the administrator's stays."""
        match self.pool_mounted(pool):
            case Presence.FOREIGN:
                raise foreign_pool("unmount", pool)
            case Presence.PRESENT if pool.image is not None:
                self._host.run(["umount", "--", pool.path])
            case _:
                pass

    def space(self) -> Space:
        """Room left in the pool, and for an image no more than the disk beneath it has."""
        space = parse_usage(self._host.run(["btrfs", "filesystem", "usage", "-b", self._laid_out()]).stdout)
        if self._pool.image is None:
            return space
        beneath = self._host.free_bytes(os.path.dirname(self._pool.image))
        return Space(min(space.data_free_bytes, beneath), space.metadata_free_bytes, space.size_bytes)


def parse_usage(usage: str) -> Space:
    """The room that ``btrfs filesystem usage -b`` tells: what is certain to be left, not what may be."""

    def told(pattern: str) -> str:
        found = re.search(pattern, usage, re.MULTILINE)
        if found is None:
            raise DriverError("cannot ask for the space of the pool: btrfs filesystem usage prints something unknown")
        return str(found[1])

    groups = re.findall(r"^Metadata,[^:]*: ?Size:(\d+), Used:(\d+)", usage, re.MULTILINE)
    allocated = sum(int(size) - int(used) for size, used in groups) - int(told(r"^\s+Global reserve:\s+(\d+)"))
    unallocated = int(told(r"^\s+Device unallocated:\s+(\d+)")) / float(told(r"^\s+Metadata ratio:\s+([\d.]+)"))
    return Space(
        data_free_bytes=int(told(r"^\s+Free \(estimated\):\s+\d+\s+\(min: (\d+)\)")),
        metadata_free_bytes=max(0, allocated) + int(unallocated),
        size_bytes=int(told(r"^\s+Device size:\s+(\d+)")),
    )


def _image_mark(image: str) -> str:
    return f"{image}.rootswap"
