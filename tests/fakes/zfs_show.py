"""The commands of zfs(8) that only look."""

from collections.abc import Callable

from tests.fakes.world import Dataset, FakeFreeBSD, Snapshot
from tests.fakes.zfs_model import NATIVE, found, listed, property_of
from tests.fakes.zfs_space import Refusal, parent_of


class Partly(Exception):
    """Some of what was asked for is there, some is not: both are told."""

    def __init__(self, stdout: str, stderr: str) -> None:
        super().__init__(stderr)
        self.stdout, self.stderr = stdout, stderr


def _asked(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Options, and the rest; -H and -p are taken for granted."""
    options: dict[str, str] = {}
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word in ("-o", "-t", "-s", "-S", "-d"):
            options[word[1]] = words.pop(0)
        elif "r" in word:
            options["r"] = "yes"
    return options, words


def _names(world: FakeFreeBSD, options: dict[str, str], tops: list[str], default_types: str) -> tuple[list[str], str]:
    """The data sets that are meant, and complaints on those that are not there."""
    types = set(options.get("t", default_types).split(","))
    depth = int(options["d"]) if "d" in options else None if "r" in options else 0
    names: list[str] = []
    complaints = ""
    for top in tops or sorted(world.state.pools):
        try:
            thing = found(world, top)
        except Refusal as refusal:
            complaints += f"{refusal.message}\n"
            continue
        if isinstance(thing, Snapshot):
            names.append(top)
            continue
        reach = depth
        if depth == 0 and types & {"snapshot", "all", "snap"}:
            reach = 1 if types == {"snapshot"} else 0
        names += listed(world, top, reach if tops else None)
    kinds = {"snapshot" if kind == "snap" else kind for kind in types}
    kept = [name for name in names if "all" in kinds or ("snapshot" if "@" in name else "filesystem") in kinds]
    if depth == 0 and types == {"snapshot"}:
        kept = [name for name in kept if "@" in name and name.partition("@")[0] in tops]
    return kept, complaints


def get(world: FakeFreeBSD, words: list[str]) -> str:
    """`zfs get -Hp`."""
    options, (wanted, *tops) = _asked(words)
    columns = options.get("o", "name,property,value,source").split(",")
    names, complaints = _names(world, options, tops, "filesystem,volume,snapshot")
    out = ""
    for name in names:
        for key in _keys(world, name) if wanted == "all" else wanted.split(","):
            value, source = property_of(world, name, key)
            if value == "-" and source == "-" and ":" not in key and wanted == "all":
                continue
            row = {"name": name, "property": key, "value": value, "source": source}
            out += "\t".join(row[column] for column in columns) + "\n"
    if complaints:
        raise Partly(out, complaints)
    return out


def _keys(world: FakeFreeBSD, name: str) -> list[str]:
    own: list[str] = []
    upwards = name
    while upwards:
        thing = found(world, upwards)
        own += [key for key in thing.properties if ":" in key and key not in own]
        upwards = upwards.partition("@")[0] if "@" in upwards else parent_of(upwards)
    return [*NATIVE, *sorted(own)]


def list_(world: FakeFreeBSD, words: list[str]) -> str:
    """`zfs list -Hp`."""
    options, tops = _asked(words)
    columns = options.get("o", "name,used,available,referenced,mountpoint").split(",")
    names, complaints = _names(world, options, tops, "filesystem,volume")
    if options.get("s") == "createtxg":
        names.sort(key=lambda name: int(property_of(world, name, "createtxg")[0]))
    out = "".join("\t".join(property_of(world, name, column)[0] for column in columns) + "\n" for name in names)
    if complaints:
        raise Partly(out, complaints)
    return out


def holds(world: FakeFreeBSD, words: list[str]) -> str:
    """`zfs holds -H`; -p came after 2.1, which is what Debian 12 has."""
    if world.state.platform == "linux" and any(word.startswith("-") and "p" in word for word in words):
        raise Refusal("invalid option 'p'\nusage:\n\tholds [-rH] <snapshot> ...\n", 2)
    _, names = _asked(words)
    out = ""
    for name in names:
        snapshot = found(world, name)
        if isinstance(snapshot, Dataset):
            raise Refusal(f"'{name}' is not a snapshot")
        out += "".join(f"{name}\t{tag}\t{since}\n" for tag, since in snapshot.holds.items())
    return out


def version(_world: FakeFreeBSD, _words: list[str]) -> str:
    """`zfs version`."""
    return "zfs-2.4.2-1-FreeBSD_g6330a45b0\nzfs-kmod-2.4.2-1-FreeBSD_g6330a45b0\n"


def program(_world: FakeFreeBSD, words: list[str]) -> str:
    """`zfs program`: there is no file of that name here."""
    raise Refusal(f"cannot open '{words[-1]}': No such file or directory")


VERBS: dict[str, Callable[[FakeFreeBSD, list[str]], str | None]] = {
    "get": get, "list": list_, "holds": holds, "version": version, "program": program,
}  # fmt: skip
