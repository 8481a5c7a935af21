"""zfs(8): what it does and what it says, on the model in ``zfs_model``."""

from collections.abc import Callable, Sequence

from commands.drivers.base import Completed
from tests.fakes import zfs_show
from tests.fakes.world import Dataset, Errno, FakeFreeBSD, Snapshot
from tests.fakes.zfs_model import (
    EMPTY_BYTES,
    SNAPSHOT_BYTES,
    Refusal,
    clones_of,
    ensure_size,
    found,
    listed,
    mount_dataset,
    mount_of,
    name_of,
    parent_of,
    property_of,
    require_room,
    unmount_dataset,
)

_SNAPSHOT_USAGE = (
    "usage:\n\tsnapshot [-r] [-o property=value] ... <filesystem|volume>@<snap> ...\n\n"
    "For the property list, run: zfs set|get\n\nFor the delegated permission list, run: zfs allow|unallow\n\n"
    "For further help on a command or topic, run: zfs help [<topic>]\n"
)


def zfs(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """One command of zfs."""
    verb = argv[1] if len(argv) > 1 else ""
    if verb not in _VERBS:
        return Completed(2, "", f"unrecognized command '{verb}'\n")
    try:
        return Completed(0, _VERBS[verb](world, list(argv[2:])) or "", "")
    except zfs_show.Partly as part:
        return Completed(1, part.stdout, part.stderr)
    except Refusal as refusal:
        text = refusal.message
        return Completed(refusal.status, "", text if text.endswith("\n") else f"{text}\n")


def _options(words: list[str], with_value: str = "o") -> tuple[set[str], list[tuple[str, str]], list[str]]:
    """Flags, the values of options, and the rest."""
    flags: set[str] = set()
    values: list[tuple[str, str]] = []
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            break
        for place, letter in enumerate(word[1:]):
            if letter in with_value:
                values.append((letter, word[place + 2 :] or words.pop(0)))
                break
            flags.add(letter)
    return flags, values, words


def _given(values: list[tuple[str, str]]) -> dict[str, str]:
    properties = {}
    for _, text in values:
        name, _, value = text.partition("=")
        properties[name] = ensure_size(value) if "quota" in name or "reservation" in name else value
    return properties


# --- data sets --------------------------------------------------------------------------------------------------------


def _create(world: FakeFreeBSD, words: list[str]) -> None:
    flags, values, (name,) = _options(words)
    _require_new(world, name, "p" in flags)
    if world.dataset(name) is not None:
        return
    require_room(world, name, EMPTY_BYTES, f"cannot create '{name}'")
    _add(world, name, Dataset(world.draw(), world.commit(), world.state.now, properties=_given(values)))
    if "u" not in flags:
        _mount_new(world, name)


def _clone(world: FakeFreeBSD, words: list[str]) -> None:
    flags, values, (origin, name) = _options(words)
    snapshot = found(world, origin)
    if isinstance(snapshot, Dataset):
        raise Refusal(f"cannot create '{name}': '{origin}' is not a snapshot")
    _require_new(world, name, "p" in flags)
    if world.dataset(name) is not None:
        return
    require_room(world, name, EMPTY_BYTES, f"cannot create '{name}'")
    made = Dataset(world.draw(), world.commit(), world.state.now, snapshot.tree.copy(), _given(values), origin=snapshot)
    _add(world, name, made)
    if "u" not in flags:
        _mount_new(world, name)


def _require_new(world: FakeFreeBSD, name: str, parents: bool) -> None:
    if world.dataset(name) is not None:
        if parents:
            return
        raise Refusal(f"cannot create '{name}': dataset already exists")
    if world.state.pools.get(name.partition("/")[0]) is None:
        raise Refusal(f"cannot create '{name}': no such pool '{name.partition('/')[0]}'")
    if world.dataset(parent_of(name)) is None:
        if not parents:
            raise Refusal(f"cannot create '{name}': parent does not exist")
        _create(world, ["-p", parent_of(name)])


def _add(world: FakeFreeBSD, name: str, dataset: Dataset) -> None:
    world.state.drawn += 1
    dataset.number = 80 + world.state.drawn
    world.state.pools[name.partition("/")[0]].datasets[name] = dataset
    world.state.pools[name.partition("/")[0]].history.append(f"create {name}")


def _mount_new(world: FakeFreeBSD, name: str) -> None:
    at = property_of(world, name, "mountpoint")[0]
    if at.startswith("/") and property_of(world, name, "canmount")[0] == "on":
        world.point(f"zfs: {name} is made, not mounted")
        mount_dataset(world, name)


def _destroy(world: FakeFreeBSD, words: list[str]) -> str | None:
    flags, _, (name,) = _options(words, "")
    if "@" in name:
        return _destroy_snapshot(world, name, flags)
    dataset = found(world, name)
    assert isinstance(dataset, Dataset)
    below = [one for one in listed(world, name, None) if one != name]
    if below and "r" not in flags:
        raise Refusal(
            f"cannot destroy '{name}': filesystem has children\nuse '-r' to destroy the following datasets:\n"
            + "".join(f"{one}\n" for one in reversed(below))
        )
    doomed = [name, *below]
    for one in doomed:
        thing = found(world, one)
        if isinstance(thing, Snapshot):
            outside = [clone for clone in clones_of(world, thing) if clone not in doomed]
            if outside:
                raise Refusal(
                    f"cannot destroy '{name}': filesystem has dependent clones\nuse '-R' to destroy the following "
                    "datasets:\n" + "".join(f"{clone}\n" for clone in outside)
                )
    for one in sorted(doomed, reverse=True):
        if "@" in one:
            _destroy_snapshot(world, one, flags - {"r"})
        else:
            unmount_dataset(world, one)
            if mount_of(world, one):
                raise Refusal(f"cannot destroy '{one}': dataset is busy")
    for one in sorted((one for one in doomed if "@" not in one), reverse=True):
        world.point(f"zfs destroy: {one} is unmounted, not destroyed")
        world.commit()
        _drop(world, one)
    return None


def _drop(world: FakeFreeBSD, name: str) -> None:
    pool = world.state.pools[name.partition("/")[0]]
    origin = pool.datasets.pop(name).origin
    pool.history.append(f"destroy {name}")
    if origin is not None and origin.defer_destroy and not origin.holds and not clones_of(world, origin):
        for _, _, dataset in world.datasets():
            if dataset.snapshots.get(origin.name) is origin:
                del dataset.snapshots[origin.name]


def _destroy_snapshot(world: FakeFreeBSD, name: str, flags: set[str]) -> str | None:
    base, _, wanted = name.partition("@")
    dataset = found(world, base)
    assert isinstance(dataset, Dataset)
    doomed = wanted.split(",")
    if not any(one in dataset.snapshots for one in doomed):
        raise Refusal("could not find any snapshots to destroy; check snapshot names.")
    if "n" in flags:
        reclaim = property_of(world, name, "used")[0]
        return f"destroy\t{name}\nreclaim\t{reclaim}\n"
    for one in doomed:
        snapshot, full = dataset.snapshots[one], f"{base}@{one}"
        _let_go(world, full)
        if (snapshot.holds or clones_of(world, snapshot)) and "d" in flags:
            snapshot.defer_destroy = True
            continue
        if snapshot.holds:
            seen = f"it's being held. Run 'zfs holds -r {full}' to see holders."
            raise Refusal(f"cannot destroy snapshot {full}: {seen}")
        if clones_of(world, snapshot):
            listing = "".join(f"{clone}\n" for clone in clones_of(world, snapshot))
            raise Refusal(
                f"cannot destroy '{full}': snapshot has dependent clones\nuse '-R' to destroy the following datasets:\n"
                + listing
            )
        if mount_of(world, full):
            raise Refusal(f"cannot destroy snapshot {full}: dataset is busy")
        world.commit()
        del dataset.snapshots[one]
    return None


def _let_go(world: FakeFreeBSD, snapshot: str) -> None:
    """FreeBSD unmounts a snapshot by force before it looks whether it may be destroyed (zfs_ioc_destroy_snaps)."""
    mount = mount_of(world, snapshot)
    if mount is not None and world.state.platform == "freebsd":
        world.unmount(mount, force=True)


# --- snapshots --------------------------------------------------------------------------------------------------------


def _snapshot(world: FakeFreeBSD, words: list[str]) -> None:
    flags, values, names = _options(words)
    targets = []
    for name in names:
        base, _, wanted = name.partition("@")
        if world.dataset(base) is None:
            raise Refusal(f"cannot open '{base}': dataset does not exist\n{_SNAPSHOT_USAGE}", 2)
        bases = [one for one in listed(world, base, None) if "@" not in one] if "r" in flags else [base]
        targets += [(one, wanted) for one in bases]
    for base, wanted in targets:
        dataset = found(world, base)
        assert isinstance(dataset, Dataset)
        if "/" in wanted:
            raise Refusal(f"cannot create snapshot '{base}@{wanted}': trailing slash in name")
        if wanted in dataset.snapshots:
            raise Refusal(f"cannot create snapshot '{base}@{wanted}': dataset already exists")
        require_room(world, base, SNAPSHOT_BYTES * len(targets), "cannot create snapshots ")
    txg = world.commit()
    for base, wanted in targets:
        dataset = found(world, base)
        assert isinstance(dataset, Dataset)
        tree = dataset.tree.copy()
        dataset.snapshots[wanted] = Snapshot(wanted, world.draw(), txg, world.state.now, tree, _given(values))


def _hold(world: FakeFreeBSD, words: list[str]) -> None:
    _, _, (tag, *names) = _options(words, "")
    for name in names:
        snapshot = _held(world, name, "hold")
        if tag in snapshot.holds:
            raise Refusal(f"cannot hold snapshot '{name}': tag already exists on this dataset")
        require_room(world, name.partition("@")[0], 0, f"cannot hold snapshot '{name}'")
        world.commit()
        snapshot.holds[tag] = world.state.now


def _release(world: FakeFreeBSD, words: list[str]) -> None:
    _, _, (tag, *names) = _options(words, "")
    for name in names:
        snapshot = _held(world, name, "release")
        if tag not in snapshot.holds:
            raise Refusal(f"cannot release hold from snapshot '{name}': no such tag on this dataset")
        world.commit()
        del snapshot.holds[tag]


def _held(world: FakeFreeBSD, name: str, verb: str) -> Snapshot:
    try:
        snapshot = found(world, name)
    except Refusal:
        said = "hold snapshot" if verb == "hold" else "release hold from snapshot"
        raise Refusal(f"cannot {said} '{name}': dataset does not exist") from None
    if isinstance(snapshot, Dataset):
        raise Refusal(f"'{name}' is not a snapshot")
    return snapshot


def _rollback(world: FakeFreeBSD, words: list[str]) -> None:
    flags, _, (name,) = _options(words, "")
    snapshot, base = found(world, name), name.partition("@")[0]
    dataset = found(world, base)
    assert isinstance(dataset, Dataset) and isinstance(snapshot, Snapshot)
    newer = [one for one in dataset.snapshots.values() if one.createtxg > snapshot.createtxg]
    if newer and "r" not in flags:
        raise Refusal(
            f"cannot rollback to '{name}': more recent snapshots or bookmarks exist\nuse '-r' to force deletion of the "
            "following snapshots and bookmarks:\n" + "".join(f"{base}@{one.name}\n" for one in newer)
        )
    for one in newer:
        del dataset.snapshots[one.name]
    world.commit()
    old = snapshot.tree.copy()
    dataset.tree.children, dataset.tree.mode = old.children, old.mode


# --- changes of data sets ---------------------------------------------------------------------------------------------


def _rename(world: FakeFreeBSD, words: list[str]) -> None:
    _, _, (old, new) = _options(words, "")
    thing = found(world, old)
    if isinstance(thing, Snapshot):
        base, wanted = old.partition("@")[0], new.partition("@")[2] or new
        dataset = found(world, base)
        assert isinstance(dataset, Dataset)
        _let_go(world, old)
        world.commit()
        thing.name = wanted
        dataset.snapshots[wanted] = dataset.snapshots.pop(old.partition("@")[2])
        return
    if world.dataset(new) is not None:
        raise Refusal(f"cannot rename to '{new}': dataset already exists")
    mounted = [one for one in listed(world, old, None) if "@" not in one and mount_of(world, one)]
    for one in reversed(mounted):
        unmount_dataset(world, one)
    pool = world.state.pools[old.partition("/")[0]]
    world.commit()
    for name in [name for name in pool.datasets if name == old or name.startswith(f"{old}/")]:
        pool.datasets[new + name[len(old) :]] = pool.datasets.pop(name)
    for one in mounted:
        mount_dataset(world, new + one[len(old) :])


def _promote(world: FakeFreeBSD, words: list[str]) -> None:
    (name,) = words
    clone = found(world, name)
    assert isinstance(clone, Dataset)
    origin = clone.origin
    if origin is None:
        raise Refusal(f"cannot promote '{name}': not a cloned filesystem")
    parent = next(dataset for _, _, dataset in world.datasets() if origin in dataset.snapshots.values())
    moving = [one for one in parent.snapshots.values() if one.createtxg <= origin.createtxg]
    for one in moving:
        if one.name in clone.snapshots:
            raise Refusal(f"cannot promote '{name}': snapshot name '{name_of(world, parent)}@{one.name}' from origin \n"
                          f"conflicts with '{name}@{one.name}' from target")  # fmt: skip
        _let_go(world, f"{name_of(world, parent)}@{one.name}")
    require_room(world, name, 0, f"cannot promote '{name}'")
    world.commit()
    for one in moving:
        clone.snapshots[one.name] = parent.snapshots.pop(one.name)
    clone.origin, parent.origin = parent.origin, origin


def _set(world: FakeFreeBSD, words: list[str]) -> None:
    given = [word for word in words if "=" in word]
    for name in [word for word in words if "=" not in word]:
        thing = found(world, name)
        require_room(world, name.partition("@")[0], 0, f"cannot set property for '{name}'")
        world.commit()
        for key, value in _given([("o", word) for word in given]).items():
            thing.properties[key] = value
            mount = mount_of(world, name)
            if key == "readonly" and mount is not None:
                mount.read_only = value == "on"


def _inherit(world: FakeFreeBSD, words: list[str]) -> None:
    _, _, (key, *names) = _options(words, "")
    for name in names:
        thing = found(world, name)
        require_room(world, name.partition("@")[0], 0, f"cannot inherit {key} for '{name}'")
        world.commit()
        thing.properties.pop(key, None)


def _mount(world: FakeFreeBSD, words: list[str]) -> str | None:
    if not words:
        own = [one for one in world.state.mounts if one.kind == "zfs" and "@" not in one.special and one.lower is None]
        return "".join(f"{one.special:<30}  {one.path}\n" for one in own)
    _, _, (name,) = _options(words, "o")
    found(world, name)
    if mount_of(world, name):
        raise Refusal(f"cannot mount '{name}': filesystem already mounted")
    at = property_of(world, name, "mountpoint")[0]
    if property_of(world, name, "canmount")[0] == "off":
        raise Refusal(f"cannot mount '{name}': 'canmount' property is set to 'off'")
    if not at.startswith("/"):
        raise Refusal(f"cannot mount '{name}': no mountpoint set")
    try:
        mount_dataset(world, name)
    except Errno as error:
        raise Refusal(f"cannot mount '{name}': {error}") from error
    return None


def _unmount(world: FakeFreeBSD, words: list[str]) -> None:
    flags, _, (name,) = _options(words, "")
    found(world, name)
    if not mount_of(world, name):
        raise Refusal(f"cannot unmount '{name}': not currently mounted")
    unmount_dataset(world, name, force="f" in flags)


_VERBS: dict[str, Callable[[FakeFreeBSD, list[str]], str | None]] = {
    "create": _create, "clone": _clone, "destroy": _destroy, "snapshot": _snapshot, "hold": _hold,
    "release": _release, "rollback": _rollback, "rename": _rename, "promote": _promote, "set": _set,
    "inherit": _inherit, "mount": _mount, "unmount": _unmount, **zfs_show.VERBS,
}  # fmt: skip

TOOLS = {"zfs": zfs}
