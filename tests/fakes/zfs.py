"""zfs(8): what it does and what it says, on the model in ``zfs_model``."""

from collections.abc import Callable, Sequence

from commands.drivers.door import Completed
from tests.fakes import zfs_show, zfs_snapshots
from tests.fakes.world import Dataset, Errno, FakeFreeBSD, Snapshot
from tests.fakes.zfs_model import (
    clones_of,
    found,
    listed,
    mount_dataset,
    mount_of,
    name_of,
    property_of,
    unmount_dataset,
)
from tests.fakes.zfs_snapshots import destroy_snapshot, given, let_go, options
from tests.fakes.zfs_space import EMPTY_BYTES, Refusal, parent_of, require_room


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


# --- data sets --------------------------------------------------------------------------------------------------------


def _create(world: FakeFreeBSD, words: list[str]) -> None:
    flags, values, (name,) = options(words)
    _require_new(world, name, "p" in flags)
    if world.dataset(name) is not None:
        return
    require_room(world, name, EMPTY_BYTES, f"cannot create '{name}'")
    _add(world, name, Dataset(world.draw(), world.commit(), world.state.now, properties=given(values)))
    if "u" not in flags:
        _mount_new(world, name)


def _clone(world: FakeFreeBSD, words: list[str]) -> None:
    flags, values, (origin, name) = options(words)
    if "u" in flags and world.state.platform == "linux":
        raise Refusal(
            "invalid option 'u'\nusage:\n\tclone [-p] [-o property=value] ... <snapshot> <filesystem|volume>\n", 2
        )
    snapshot = found(world, origin)
    if isinstance(snapshot, Dataset):
        raise Refusal(f"cannot create '{name}': '{origin}' is not a snapshot")
    _require_new(world, name, "p" in flags)
    if world.dataset(name) is not None:
        return
    require_room(world, name, EMPTY_BYTES, f"cannot create '{name}'")
    made = Dataset(world.draw(), world.commit(), world.state.now, snapshot.tree.copy(), given(values), origin=snapshot)
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
    flags, _, (name,) = options(words, "")
    if "@" in name:
        return destroy_snapshot(world, name, flags)
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
            destroy_snapshot(world, one, flags - {"r"})
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


# --- changes of data sets ---------------------------------------------------------------------------------------------


def _rename(world: FakeFreeBSD, words: list[str]) -> None:
    _, _, (old, new) = options(words, "")
    thing = found(world, old)
    if isinstance(thing, Snapshot):
        base, wanted = old.partition("@")[0], new.partition("@")[2] or new
        dataset = found(world, base)
        assert isinstance(dataset, Dataset)
        let_go(world, old)
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
    for one in parent.snapshots.values():
        let_go(world, f"{name_of(world, parent)}@{one.name}")
    require_room(world, name, 0, f"cannot promote '{name}'")
    world.commit()
    for one in moving:
        clone.snapshots[one.name] = parent.snapshots.pop(one.name)
    clone.origin, parent.origin = parent.origin, origin


def _set(world: FakeFreeBSD, words: list[str]) -> None:
    wanted = given([("o", word) for word in words if "=" in word])
    for name in [word for word in words if "=" not in word]:
        thing = found(world, name)
        require_room(world, name.partition("@")[0], 0, f"cannot set property for '{name}'")
        world.commit()
        for key, value in wanted.items():
            thing.properties[key] = value
            mount = mount_of(world, name)
            if key == "readonly" and mount is not None:
                mount.read_only = value == "on"


def _inherit(world: FakeFreeBSD, words: list[str]) -> None:
    _, _, (key, *names) = options(words, "")
    for name in names:
        thing = found(world, name)
        require_room(world, name.partition("@")[0], 0, f"cannot inherit {key} for '{name}'")
        world.commit()
        thing.properties.pop(key, None)


def _mount(world: FakeFreeBSD, words: list[str]) -> str | None:
    if not words:
        own = [one for one in world.state.mounts if one.kind == "zfs" and "@" not in one.special and one.lower is None]
        return "".join(f"{one.special:<30}  {one.path}\n" for one in own)
    _, _, (name,) = options(words, "o")
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
    flags, _, (name,) = options(words, "")
    found(world, name)
    if not mount_of(world, name):
        raise Refusal(f"cannot unmount '{name}': not currently mounted")
    unmount_dataset(world, name, force="f" in flags)


_VERBS: dict[str, Callable[[FakeFreeBSD, list[str]], str | None]] = {
    "create": _create, "clone": _clone, "destroy": _destroy, "rename": _rename, "promote": _promote, "set": _set,
    "inherit": _inherit, "mount": _mount, "unmount": _unmount, **zfs_show.VERBS, **zfs_snapshots.VERBS,
}  # fmt: skip

TOOLS = {"zfs": zfs}
