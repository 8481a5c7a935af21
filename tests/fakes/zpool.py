"""zpool(8), as far as drivers and tests call it."""

from collections.abc import Sequence

from commands.drivers.door import Completed
from tests.fakes.world import Dataset, FakeFreeBSD, Pool
from tests.fakes.zfs_model import ensure_size, mount_of, unmount_dataset
from tests.fakes.zfs_space import free_of

_OVERHEAD_BYTES = 67108864


def zpool(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """One command of zpool."""
    verb, words = argv[1], list(argv[2:])
    return {"create": _create, "get": _get, "list": _get_list, "status": _status, "export": _export, "import": _import}[
        verb
    ](world, words)


def _create(world: FakeFreeBSD, words: list[str]) -> Completed:
    properties = {}
    while words[0] == "-O":
        name, _, value = words[1].partition("=")
        properties[name] = ensure_size(value) if "quota" in name else value
        del words[:2]
    name, disk = words[0], words[-1]
    if name in world.state.pools:
        return Completed(1, "", f"cannot create '{name}': pool already exists\n")
    size = world.state.disks.get(disk)
    if size is None:
        return Completed(
            1, "", f"cannot open '{disk}': no such device in /dev\nmust be a full path or shorthand device name\n"
        )
    pool = world.state.pools[name] = Pool(name, world.draw(), size - _OVERHEAD_BYTES)
    pool.datasets[name] = Dataset(world.draw(), 1, world.state.now, properties=properties)
    return Completed(0, "", "")


def _values(world: FakeFreeBSD, pool: Pool) -> dict[str, str]:
    free = free_of(world, pool)
    return {
        "name": pool.name, "health": pool.health, "free": str(free), "size": str(pool.size_bytes), "freeing": "0",
        "capacity": str((pool.size_bytes - free) * 100 // pool.size_bytes), "guid": str(pool.guid),
        "readonly": "on" if pool.read_only else "off", "allocated": str(pool.size_bytes - free),
    }  # fmt: skip


def _get(world: FakeFreeBSD, words: list[str]) -> Completed:
    columns = ["name", "property", "value", "source"]
    while words[0].startswith("-"):
        if words[0] == "-o":
            columns = words[1].split(",")
            del words[0]
        del words[0]
    wanted, names = words[0].split(","), words[1:]
    out, complaints = "", ""
    for name in names:
        if name not in world.state.pools:
            complaints += f"cannot open '{name}': no such pool\n"
            continue
        values = _values(world, world.state.pools[name])
        for key in wanted:
            row = {"name": name, "property": key, "value": values[key], "source": "-"}
            out += "\t".join(row[column] for column in columns) + "\n"
    return Completed(1 if complaints else 0, out, complaints)


def _get_list(world: FakeFreeBSD, words: list[str]) -> Completed:
    columns = ["name", "size", "allocated", "free", "health"]
    while words and words[0].startswith("-"):
        if words[0] == "-o":
            columns = words[1].split(",")
            del words[0]
        del words[0]
    out, complaints = "", ""
    for name in words or list(world.state.pools):
        if name in world.state.pools:
            out += "\t".join(_values(world, world.state.pools[name])[column] for column in columns) + "\n"
        else:
            complaints += f"cannot open '{name}': no such pool\n"
    return Completed(1 if complaints else 0, out, complaints)


def _status(world: FakeFreeBSD, _words: list[str]) -> Completed:
    sick = [pool for pool in world.state.pools.values() if pool.health != "ONLINE"]
    if not world.state.pools:
        return Completed(0, "no pools available\n", "")
    return Completed(
        0, "".join(f"  pool: {pool.name}\n state: {pool.health}\n" for pool in sick) or "all pools are healthy\n", ""
    )


def _export(world: FakeFreeBSD, words: list[str]) -> Completed:
    pool = world.state.pools[words[-1]]
    for name in sorted(pool.datasets, reverse=True):
        while mount_of(world, name):
            unmount_dataset(world, name)
    world.state.exported[pool.name] = world.state.pools.pop(pool.name)
    return Completed(0, "", "")


def _import(world: FakeFreeBSD, words: list[str]) -> Completed:
    name = words[-1]
    if name not in world.state.exported:
        return Completed(1, "", f"cannot import '{name}': no such pool available\n")
    world.state.pools[name] = world.state.exported.pop(name)
    world.state.pools[name].read_only = "readonly=on" in words
    return Completed(0, "", "")


TOOLS = {"zpool": zpool}
