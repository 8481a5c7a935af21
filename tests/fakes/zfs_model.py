"""What ZFS keeps in memory and how it reckons: properties and where they come from, space, mounts of data sets.

The names, the order and the defaults of the properties are those of ``zfs get all`` in the captures.
"""

from collections.abc import Iterator

from tests.fakes.world import MIB, Dataset, Errno, FakeFreeBSD, Mount, Snapshot
from tests.fakes.zfs_space import (
    CLONE_BYTES,
    Refusal,
    available,
    before,
    by_snapshots,
    held_alone,
    parent_of,
    size_of,
    used_beneath,
    written,
)

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

# --- names ------------------------------------------------------------------------------------------------------------


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
        return ("-", "-") if since is None else (str(written(thing.tree, since.tree)), "-")
    if wanted not in NATIVE and wanted not in SNAPSHOT_ONLY:
        raise Refusal(f"bad property list: invalid property '{wanted}'\n", 2)
    told = _reckoned(world, name, thing, wanted)
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


def _reckoned(world: FakeFreeBSD, name: str, thing: Dataset | Snapshot, wanted: str) -> str | None:
    """A property that is worked out; None for one that is not. Only what is asked for: space is slow to reckon."""
    match wanted:
        case "creation" | "createtxg" | "guid":
            return str(getattr(thing, wanted))
        case "referenced" | "logicalreferenced":
            return str(size_of(thing.tree))
    if isinstance(thing, Snapshot):
        return _reckoned_snapshot(world, name, thing, wanted)
    match wanted:
        case "type":
            return "filesystem"
        case "used" | "logicalused":
            return str(used_beneath(world, name))
        case "available":
            return str(available(world, name))
        case "mounted":
            return "yes" if mount_of(world, name) else "no"
        case "usedbysnapshots":
            return str(by_snapshots(thing))
        case "usedbydataset":
            return str(size_of(thing.tree))
        case "objsetid":
            return str(thing.number)
        case "origin":
            return owner_of(world, thing.origin) if thing.origin is not None else None
        case "written":
            newest = max(thing.snapshots.values(), key=lambda one: one.createtxg, default=None)
            if newest is None and thing.origin is not None:
                return str(written(thing.tree, thing.origin.tree) or CLONE_BYTES)
            return str(written(thing.tree, newest.tree) if newest else size_of(thing.tree))
        case _:
            return "0" if wanted.startswith("default") or wanted == "usedbychildren" else None


def _reckoned_snapshot(world: FakeFreeBSD, name: str, thing: Snapshot, wanted: str) -> str | None:
    dataset = world.dataset(name.partition("@")[0])
    assert dataset is not None
    match wanted:
        case "type":
            return "snapshot"
        case "userrefs":
            return str(len(thing.holds))
        case "clones":
            return ",".join(clones_of(world, thing)) or None
        case "defer_destroy":
            return "on" if thing.defer_destroy else "off"
        case "used":
            return str(held_alone(dataset, thing))
        case "written":
            return str(written(thing.tree, before(dataset, thing)))
        case _:
            return None


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


def ensure_size(text: str) -> str:
    """A size as `-p` prints it: 50M is 52428800."""
    units = {"K": 1 << 10, "M": MIB, "G": 1 << 30, "T": 1 << 40}
    if text[-1:].upper() in units and text[:-1].isdigit():
        return str(int(text[:-1]) * units[text[-1].upper()])
    return "0" if text == "none" else text
