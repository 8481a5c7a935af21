"""The commands of zfs(8) on snapshots: snapshot, hold, release, rollback, and destroy as far as it is one."""

from collections.abc import Callable

from tests.fakes.world import Dataset, FakeFreeBSD, Snapshot
from tests.fakes.zfs_model import clones_of, ensure_size, found, listed, mount_of, property_of
from tests.fakes.zfs_space import SNAPSHOT_BYTES, Refusal, require_room

_SNAPSHOT_USAGE = (
    "usage:\n\tsnapshot [-r] [-o property=value] ... <filesystem|volume>@<snap> ...\n\n"
    "For the property list, run: zfs set|get\n\nFor the delegated permission list, run: zfs allow|unallow\n\n"
    "For further help on a command or topic, run: zfs help [<topic>]\n"
)


def options(words: list[str], with_value: str = "o") -> tuple[set[str], list[tuple[str, str]], list[str]]:
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


def given(values: list[tuple[str, str]]) -> dict[str, str]:
    """The properties of -o."""
    properties = {}
    for _, text in values:
        name, _, value = text.partition("=")
        properties[name] = ensure_size(value) if "quota" in name or "reservation" in name else value
    return properties


def destroy_snapshot(world: FakeFreeBSD, name: str, flags: set[str]) -> str | None:
    """`zfs destroy DATASET@SNAPSHOT`, with -d and -n."""
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
        let_go(world, full)
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


def let_go(world: FakeFreeBSD, snapshot: str) -> None:
    """FreeBSD unmounts a snapshot by force before it looks whether it may be destroyed (zfs_ioc_destroy_snaps)."""
    mount = mount_of(world, snapshot)
    if mount is not None and world.state.platform == "freebsd":
        world.unmount(mount, force=True)


def take_snapshot(world: FakeFreeBSD, words: list[str]) -> None:
    """`zfs snapshot`: all or none."""
    flags, values, names = options(words)
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
        dataset.snapshots[wanted] = Snapshot(wanted, world.draw(), txg, world.state.now, tree, given(values))


def hold(world: FakeFreeBSD, words: list[str]) -> None:
    """`zfs hold`."""
    _, _, (tag, *names) = options(words, "")
    for name in names:
        snapshot = _held(world, name, "hold")
        if tag in snapshot.holds:
            raise Refusal(f"cannot hold snapshot '{name}': tag already exists on this dataset")
        require_room(world, name.partition("@")[0], 0, f"cannot hold snapshot '{name}'")
        world.commit()
        snapshot.holds[tag] = world.state.now


def release(world: FakeFreeBSD, words: list[str]) -> None:
    """`zfs release`."""
    _, _, (tag, *names) = options(words, "")
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


def rollback(world: FakeFreeBSD, words: list[str]) -> None:
    """`zfs rollback`."""
    flags, _, (name,) = options(words, "")
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


VERBS: dict[str, Callable[[FakeFreeBSD, list[str]], str | None]] = {
    "snapshot": take_snapshot, "hold": hold, "release": release, "rollback": rollback,
}  # fmt: skip
