"""What ZFS keeps in memory and how it reckons: properties and where they come from, space, mounts of data sets.

The names, the order and the defaults of the properties are those of ``zfs get all`` in the captures.
"""

from collections.abc import Iterator

from tests.fakes.tree import Blob, Node
from tests.fakes.world import MIB, Dataset, Errno, FakeFreeBSD, Mount, Pool, Snapshot

#: Name, default; None where it is reckoned. In the order of ``zfs get all``.
NATIVE: dict[str, str | None] = {
    "type": None, "creation": None, "used": None, "available": None, "referenced": None, "compressratio": None,
    "mounted": None, "origin": None, "quota": "0", "reservation": "0", "recordsize": "131072", "mountpoint": None,
    "sharenfs": "off", "checksum": "on", "compression": "on", "atime": "on", "devices": "on", "exec": "on",
    "setuid": "on", "readonly": "off", "jailed": "off", "snapdir": "hidden", "aclmode": "discard",
    "aclinherit": "restricted", "createtxg": None, "canmount": "on", "xattr": "sa", "copies": "1", "version": None,
    "utf8only": None, "normalization": None, "casesensitivity": None, "vscan": "off", "nbmand": "off",
    "sharesmb": "off", "refquota": "0", "refreservation": "0", "guid": None, "primarycache": "all",
    "secondarycache": "all", "usedbysnapshots": None, "usedbydataset": None, "usedbychildren": None,
    "usedbyrefreservation": None, "logbias": "latency", "objsetid": None, "dedup": "off", "mlslabel": "none",
    "sync": "standard", "dnodesize": "legacy", "refcompressratio": None, "written": None, "logicalused": None,
    "logicalreferenced": None, "volmode": "default", "filesystem_limit": "none", "snapshot_limit": "none",
    "filesystem_count": "none", "snapshot_count": "none", "snapdev": "hidden", "acltype": "nfsv4", "context": "none",
    "fscontext": "none", "defcontext": "none", "rootcontext": "none", "relatime": "on", "redundant_metadata": "all",
    "overlay": "on", "encryption": "off", "keylocation": "none", "keyformat": "none", "pbkdf2iters": "0",
    "special_small_blocks": "0", "prefetch": "all", "direct": "standard", "longname": "off", "defaultuserquota": None,
    "defaultgroupquota": None, "defaultprojectquota": None, "defaultuserobjquota": None, "defaultgroupobjquota": None,
    "defaultprojectobjquota": None,
}  # fmt: skip
SNAPSHOT_ONLY = ("userrefs", "clones", "defer_destroy")
NOT_INHERITED = {"quota", "reservation", "refquota", "refreservation", "canmount"}
SETTABLE = {name for name, default in NATIVE.items() if default is not None} | {"mountpoint"}
_CONSTANT = {
    "compressratio": "1.00", "refcompressratio": "1.00", "version": "5", "utf8only": "off", "normalization": "none",
    "casesensitivity": "sensitive", "usedbyrefreservation": "0",
}  # fmt: skip

#: What an empty file system takes.
EMPTY_BYTES = 24576
SLOP_SHIFT = 5
#: What a snapshot takes, so that it fails in a full pool.
SNAPSHOT_BYTES = 16384


class Refusal(Exception):
    """A command of zfs(8) that fails: what it prints on stderr, and its status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.message, self.status = message, status


# --- names ------------------------------------------------------------------------------------------------------------


def parent_of(name: str) -> str:
    """The data set that a data set is beneath."""
    return name.rpartition("/")[0]


def name_of(world: FakeFreeBSD, wanted: Dataset) -> str:
    """The name that a data set has now."""
    return next(name for _, name, dataset in world.datasets() if dataset is wanted)


def owner_of(world: FakeFreeBSD, wanted: Snapshot) -> str:
    """The full name that a snapshot has now."""
    for _, name, dataset in world.datasets():
        if wanted in dataset.snapshots.values():
            return f"{name}@{wanted.name}"
    raise KeyError(wanted.name)


def clones_of(world: FakeFreeBSD, snapshot: Snapshot) -> list[str]:
    """The names of the clones of a snapshot."""
    return sorted(name for _, name, dataset in world.datasets() if dataset.origin is snapshot)


def found(world: FakeFreeBSD, name: str) -> Dataset | Snapshot:
    """The data set or snapshot of that name. Raises Refusal."""
    base, at, snap = name.partition("@")
    dataset = world.dataset(base)
    if dataset is None or (at and snap not in dataset.snapshots):
        raise Refusal(f"cannot open '{name}': dataset does not exist")
    return dataset.snapshots[snap] if at else dataset


def listed(world: FakeFreeBSD, top: str, depth: int | None) -> list[str]:
    """A data set and those beneath it, each with its snapshots behind it, as `zfs list -r` sorts them."""
    names: list[str] = []
    for _, name, dataset in sorted(world.datasets(), key=lambda entry: entry[1].split("/")):
        if name != top and not name.startswith(f"{top}/"):
            continue
        below = name.count("/") - top.count("/")
        if depth is None or below <= depth:
            names.append(name)
        if depth is None or below < depth:
            by_age = sorted(dataset.snapshots.values(), key=lambda one: one.createtxg)
            names.extend(f"{name}@{one.name}" for one in by_age)
    return names


# --- properties -------------------------------------------------------------------------------------------------------


def property_of(world: FakeFreeBSD, name: str, wanted: str) -> tuple[str, str]:
    """The value of a property and its source; ``-`` where it has none. Raises Refusal for what is no property."""
    thing = found(world, name)
    wanted = {"avail": "available", "refer": "referenced", "rdonly": "readonly"}.get(wanted, wanted)
    if wanted == "name":
        return name, "-"
    if ":" in wanted or (isinstance(thing, Dataset) and wanted in SETTABLE):
        return _set_property(world, name, thing, wanted)
    if wanted.startswith("written@"):
        assert isinstance(thing, Dataset)
        since = thing.snapshots.get(wanted.partition("@")[2])
        return ("-", "-") if since is None else (str(_written(thing.tree, since.tree)), "-")
    if wanted not in NATIVE and wanted not in SNAPSHOT_ONLY:
        raise Refusal(f"bad property list: invalid property '{wanted}'\n", 2)
    told = _reckoned(world, name, thing).get(wanted)
    return (told, "-") if told is not None else (_CONSTANT.get(wanted, "-"), "-")


def _set_property(world: FakeFreeBSD, name: str, thing: Dataset | Snapshot, wanted: str) -> tuple[str, str]:
    if wanted in thing.properties:
        return thing.properties[wanted], "local"
    base = name.partition("@")[0]
    upwards = base if isinstance(thing, Snapshot) else parent_of(base)
    while upwards and wanted not in NOT_INHERITED:
        above = world.dataset(upwards)
        assert above is not None
        if wanted in above.properties:
            value = above.properties[wanted]
            if wanted == "mountpoint" and value.startswith("/"):
                value = value.rstrip("/") + base[len(upwards) :]
            return value, f"inherited from {upwards}"
        upwards = parent_of(upwards)
    if wanted == "mountpoint":
        return f"/{base}", "default"
    default = NATIVE.get(wanted)
    return ("-", "-") if default is None else (default, "default")


def _reckoned(world: FakeFreeBSD, name: str, thing: Dataset | Snapshot) -> dict[str, str]:
    common = {"creation": str(thing.creation), "createtxg": str(thing.createtxg), "guid": str(thing.guid)}
    refer = str(size_of(thing.tree))
    common |= {"referenced": refer, "logicalreferenced": refer}
    if isinstance(thing, Snapshot):
        clones = ",".join(clones_of(world, thing))
        dataset = world.dataset(name.partition("@")[0])
        assert dataset is not None
        return common | {
            "type": "snapshot", "userrefs": str(len(thing.holds)), "clones": clones or "-",
            "defer_destroy": "on" if thing.defer_destroy else "off", "used": str(_held_alone(dataset, thing)),
            "written": str(_written(thing.tree, _before(dataset, thing))),
        }  # fmt: skip
    newest = max(thing.snapshots.values(), key=lambda one: one.createtxg, default=thing.origin)
    used = str(used_beneath(world, name))
    reckoned = {
        "type": "filesystem", "used": used, "logicalused": used, "available": str(available(world, name)),
        "mounted": "yes" if mount_of(world, name) else "no", "usedbysnapshots": str(_by_snapshots(thing)),
        "usedbydataset": refer, "usedbychildren": "0", "objsetid": str(thing.number),
        "written": str(_written(thing.tree, newest.tree) if newest else size_of(thing.tree)),
    }  # fmt: skip
    reckoned |= {key: "0" for key in NATIVE if key.startswith("default")}
    if thing.origin is not None:
        reckoned["origin"] = owner_of(world, thing.origin)
    return common | reckoned


# --- space ------------------------------------------------------------------------------------------------------------


def size_of(tree: Node) -> int:
    """What a tree takes by itself."""
    return EMPTY_BYTES + sum(blob.size_bytes for blob in set(tree.blobs()))


def _unique(trees: list[Node]) -> int:
    blobs: set[Blob] = set()
    for tree in trees:
        blobs.update(tree.blobs())
    return sum(blob.size_bytes for blob in blobs)


def _written(tree: Node, since: Node | None) -> int:
    old = set(since.blobs()) if since else set()
    new = sum(blob.size_bytes for blob in set(tree.blobs()) - old)
    changed = since is None or list(tree.picture()) != list(since.picture())
    return new + (14336 if changed else 0)


def _before(dataset: Dataset, snapshot: Snapshot) -> Node | None:
    older = [one for one in dataset.snapshots.values() if one.createtxg < snapshot.createtxg]
    newest = max(older, key=lambda one: one.createtxg, default=dataset.origin)
    return newest.tree if newest else None


def _held_alone(dataset: Dataset, snapshot: Snapshot) -> int:
    others = [one.tree for one in dataset.snapshots.values() if one is not snapshot] + [dataset.tree]
    return _unique([*others, snapshot.tree]) - _unique(others)


def _by_snapshots(dataset: Dataset) -> int:
    return _unique([dataset.tree, *(one.tree for one in dataset.snapshots.values())]) - _unique([dataset.tree])


def used_beneath(world: FakeFreeBSD, name: str) -> int:
    """What a data set takes with all beneath it; what a clone shares with its origin is not counted."""
    total = 0
    for _, other, dataset in world.datasets():
        if other == name or other.startswith(f"{name}/"):
            origin = [dataset.origin.tree] if dataset.origin else []
            trees = [dataset.tree, *(one.tree for one in dataset.snapshots.values())]
            total += _unique([*trees, *origin]) - _unique(origin) + (0 if origin else EMPTY_BYTES)
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


# --- mounts -----------------------------------------------------------------------------------------------------------


def mount_of(world: FakeFreeBSD, name: str) -> Mount | None:
    """Where a data set or snapshot is mounted; the first place, for Linux may have bound it to others."""
    return next((one for one in world.state.mounts if one.special == name and one.kind == "zfs"), None)


def mount_dataset(world: FakeFreeBSD, name: str, path: str | None = None, *, read_only: bool = False) -> None:
    """Mount a data set where it belongs, or a snapshot or data set at ``path``. Raises Errno."""
    thing = found(world, name)
    at = path or property_of(world, name, "mountpoint")[0]
    if mount_of(world, name) and world.state.platform == "freebsd":
        raise Errno("Device busy")  # an objset has one owner
    frozen = isinstance(thing, Snapshot) or read_only or property_of(world, name, "readonly")[0] == "on"
    if path is None:
        world.make_directory(at)
    quiet = () if property_of(world, name, "atime")[0] == "on" else ("noatime",)
    world.mount(name, at, "zfs", thing.tree, read_only=frozen, options=("local", *quiet, "nfsv4acls"))


def unmount_dataset(world: FakeFreeBSD, name: str, *, force: bool = False) -> None:
    """Unmount a data set if it is mounted. Raises Refusal when it is busy."""
    mount = mount_of(world, name)
    if mount is None:
        return
    try:
        world.unmount(mount, force=force)
    except Errno:
        raise Refusal(f"cannot unmount '{mount.path}': pool or dataset is busy") from None


def mount_all(world: FakeFreeBSD) -> None:
    """What `zfs mount -a` does at the boot: mount what is to be mounted, outermost first."""
    wanted = []
    for pool, name, _ in world.datasets():
        at = property_of(world, name, "mountpoint")[0]
        if pool.health != "SUSPENDED" and at.startswith("/") and property_of(world, name, "canmount")[0] == "on":
            wanted.append((at, name))
    for _, name in sorted(wanted):
        if mount_of(world, name) is None:
            mount_dataset(world, name)


def picture_of_pools(world: FakeFreeBSD) -> Iterator[tuple[str, str]]:
    """Every data set and snapshot with what was set on it, its origin, its holds and its content."""
    for _, name, dataset in world.datasets():
        origin = f" from {owner_of(world, dataset.origin)}" if dataset.origin else ""
        yield f"dataset {name}", f"{sorted(dataset.properties.items())}{origin}"
        yield f"content {name}", repr(list(dataset.tree.picture()))
        for one in dataset.snapshots.values():
            yield (
                f"snapshot {name}@{one.name}",
                f"{sorted(one.properties.items())} {sorted(one.holds)} {one.defer_destroy}",
            )
            yield f"content {name}@{one.name}", repr(list(one.tree.picture()))


def require_room(world: FakeFreeBSD, name: str, needed: int, sentence: str) -> None:
    """Raises Refusal in a full, suspended or read-only pool."""
    pool = world.state.pools[name.partition("/")[0].partition("@")[0]]
    if pool.health == "SUSPENDED":
        raise Refusal(f"{sentence}: pool I/O is currently suspended")
    if pool.read_only:
        raise Refusal(f"{sentence}: pool is read-only")
    if available(world, pool.name) < needed:
        raise Refusal(f"{sentence}: out of space")


def ensure_size(text: str) -> str:
    """A size as `-p` prints it: 50M is 52428800."""
    units = {"K": 1 << 10, "M": MIB, "G": 1 << 30, "T": 1 << 40}
    if text[-1:].upper() in units and text[:-1].isdigit():
        return str(int(text[:-1]) * units[text[-1].upper()])
    return "0" if text == "none" else text
