"""How much room there is in a pool in memory, and who takes it. What copies share is counted once."""

from tests.fakes.things import Dataset, Pool, Snapshot
from tests.fakes.tree import Blob, Node
from tests.fakes.world import FakeFreeBSD

#: What an empty file system takes.
EMPTY_BYTES = 24576
#: What a clone takes and calls written before anybody has written to it, if its origin was synced as a template is:
#: asked of OpenZFS 2.1.11 in the guest of `make test-vm`.
CLONE_BYTES = 1024
SLOP_SHIFT = 5
#: What a snapshot takes, so that it fails in a full pool.
SNAPSHOT_BYTES = 16384


class Refusal(Exception):
    """A command of zfs(8) that fails: what it prints on stderr, and its status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.message, self.status = message, status


def parent_of(name: str) -> str:
    """The data set that a data set is beneath."""
    return name.rpartition("/")[0]


def size_of(tree: Node) -> int:
    """What a tree takes by itself."""
    return EMPTY_BYTES + sum(blob.size_bytes for blob in set(tree.blobs()))


def _unique(trees: list[Node]) -> int:
    blobs: set[Blob] = set()
    for tree in trees:
        blobs.update(tree.blobs())
    return sum(blob.size_bytes for blob in blobs)


def written(tree: Node, since: Node | None) -> int:
    old = set(since.blobs()) if since else set()
    new = sum(blob.size_bytes for blob in set(tree.blobs()) - old)
    changed = since is None or list(tree.picture()) != list(since.picture())
    return new + (14336 if changed else 0)


def before(dataset: Dataset, snapshot: Snapshot) -> Node | None:
    older = [one for one in dataset.snapshots.values() if one.createtxg < snapshot.createtxg]
    newest = max(older, key=lambda one: one.createtxg, default=dataset.origin)
    return newest.tree if newest else None


def held_alone(dataset: Dataset, snapshot: Snapshot) -> int:
    others = [one.tree for one in dataset.snapshots.values() if one is not snapshot] + [dataset.tree]
    return _unique([*others, snapshot.tree]) - _unique(others)


def by_snapshots(dataset: Dataset) -> int:
    return _unique([dataset.tree, *(one.tree for one in dataset.snapshots.values())]) - _unique([dataset.tree])


def used_beneath(world: FakeFreeBSD, name: str) -> int:
    """What a data set takes with all beneath it; what a clone shares with its origin is not counted."""
    total = 0
    for _, other, dataset in world.datasets():
        if other == name or other.startswith(f"{name}/"):
            origin = [dataset.origin.tree] if dataset.origin else []
            trees = [dataset.tree, *(one.tree for one in dataset.snapshots.values())]
            total += _unique([*trees, *origin]) - _unique(origin) + (CLONE_BYTES if origin else EMPTY_BYTES)
            total += SNAPSHOT_BYTES * len(dataset.snapshots)
    return total


def free_of(world: FakeFreeBSD, pool: Pool) -> int:
    """What `zpool get free` tells: without the slop that ZFS keeps back."""
    return max(0, pool.size_bytes - used_beneath(world, pool.name))


def available(world: FakeFreeBSD, name: str) -> int:
    """What a data set can still write: the last 1/32 of the pool is withheld, and quotas count."""
    pool = world.state.pools[name.partition("/")[0]]
    room = pool.size_bytes - (pool.size_bytes >> SLOP_SHIFT) - used_beneath(world, pool.name)
    upwards = name
    while upwards:
        dataset = pool.datasets[upwards]
        quota = int(dataset.properties.get("quota", "0"))
        if quota:
            room = min(room, quota - used_beneath(world, upwards))
        upwards = parent_of(upwards)
    refquota = int(pool.datasets[name].properties.get("refquota", "0"))
    if refquota:
        room = min(room, refquota - size_of(pool.datasets[name].tree))
    return max(0, room)


def room_beneath(world: FakeFreeBSD, path: str) -> int:
    """How much can be written to a path whose parent is there."""
    mount = world.under(path.rpartition("/")[0] or "/")
    while mount is not None and mount.kind == "nullfs":
        mount = mount.lower
    if mount is None or mount.kind != "zfs" or "@" in mount.special:
        return 1 << 40
    return available(world, mount.special)


def require_room(world: FakeFreeBSD, name: str, needed: int, sentence: str) -> None:
    """Raises Refusal in a full, suspended or read-only pool."""
    pool = world.state.pools[name.partition("/")[0].partition("@")[0]]
    if pool.health == "SUSPENDED":
        raise Refusal(f"{sentence}: pool I/O is currently suspended")
    if pool.read_only:
        raise Refusal(f"{sentence}: pool is read-only")
    if available(world, pool.name) < needed:
        raise Refusal(f"{sentence}: out of space")
