"""The small tools that work on files: mkdir, rm, touch, cp, dd, chmod, chown, find, cat, ls, sync."""

import re
from collections.abc import Sequence

from commands.drivers.door import Completed
from tests.fakes.tree import Blob, Node
from tests.fakes.world import MIB, READ_ONLY, Errno, FakeFreeBSD
from tests.fakes.zfs_model import property_of
from tests.fakes.zfs_space import room_beneath


def mkdir(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """mkdir -p."""
    return _each("mkdir", argv, world.make_directory)


def touch(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """touch."""
    return _each("touch", argv, lambda path: world.write(path, b""))


def rm(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """rm -rf, and rm."""

    def remove(path: str) -> None:
        head, _, name = path.rpartition("/")
        children = world.writable(head or "/").children
        if name not in children:
            raise Errno("No such file or directory")
        del children[name]

    return _each("rm", argv, remove)


def chmod(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """chmod OCTAL."""
    words = [word for word in argv[1:] if word != "--"]

    def change(path: str) -> None:
        mount, node = world.walk(path)
        if mount.read_only:
            raise Errno(READ_ONLY)
        node.mode = int(words[0], 8)

    return _each("chmod", ["chmod", *words[1:]], change)


def sync(_world: FakeFreeBSD, _argv: Sequence[str], _stdin: str) -> Completed:
    """sync."""
    return Completed(0, "", "")


def cat(world: FakeFreeBSD, argv: Sequence[str], stdin: str) -> Completed:
    """cat."""
    if len(argv) == 1:
        return Completed(0, stdin, "")
    node = world.find(argv[-1])
    if node is None:
        return Completed(1, "", f"cat: {argv[-1]}: No such file or directory\n")
    return Completed(0, node.blob.content.decode(), "")


def cp(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """cp -a FROM/. TO: the content of one directory into another, which takes its owner and mode as well."""
    source, target = [word for word in argv[1:] if not word.startswith("-")]
    try:
        node = world.walk(source.removesuffix("/."))[1]
        mount, into = world.walk(target)
        if mount.read_only:
            raise Errno(READ_ONLY)
        if sum(blob.size_bytes for blob in set(node.blobs())) > room_beneath(world, f"{target}/x"):
            raise Errno("No space left on device")
        names = sorted(node.children)
        for place, name in enumerate(names):
            into.children[name] = _fresh(node.children[name])
            if place < len(names) - 1:
                world.point(f"cp: {name} is copied")
        into.mode, into.uid = node.mode, node.uid
    except Errno as error:
        return Completed(1, "", f"cp: {source}: {error}\n")
    return Completed(0, "", "")


def _fresh(node: Node) -> Node:
    children = {name: _fresh(child) for name, child in node.children.items()}
    blob = Blob(node.blob.content, node.blob.size_bytes)
    return Node(node.kind, node.mode, node.uid, blob, node.target, children)


def find(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """find ROOT -xdev ( -type b -o -type c ) -print -quit: the first device file."""
    node = world.find(argv[1])
    if node is None:
        return Completed(1, "", f"find: {argv[1]}: No such file or directory\n")
    devices = [path for path, told in node.picture(argv[1]) if told.startswith("device")]
    return Completed(0, "".join(f"{path}\n" for path in devices[:1]), "")


def dd(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """dd if=… of=… bs=1m [count=…]; zeros take no room where they are compressed, and a full disk ends it."""
    given = dict(word.split("=", 1) for word in argv[1:])
    room = room_beneath(world, given["of"])
    wanted = int(given["count"]) * MIB if "count" in given else room
    mount = world.under(given["of"].rpartition("/")[0])
    packed = mount is not None and mount.kind == "zfs" and property_of(world, mount.special, "compression")[0] != "off"
    if given["if"] == "/dev/zero" and packed:
        world.write(given["of"], Blob(b"", 0))
    else:
        wanted = min(wanted, room)
        world.write(given["of"], Blob(b"", wanted))
    whole, rest = divmod(wanted, MIB)
    lines = f"{whole + bool(rest)}+0 records in\n{whole}+{int(bool(rest))} records out\n"
    return Completed(0, "", f"{lines}{wanted} bytes transferred in 2.464532 secs (34037331 bytes/sec)\n")


def _each(tool: str, argv: Sequence[str], act: "object") -> Completed:
    complaints = ""
    for path in [word for word in argv[1:] if not re.fullmatch(r"-[a-z]*|--", word)]:
        try:
            act(path)  # type: ignore[operator]
        except Errno as error:
            complaints += f"{tool}: {path}: {error}\n"
    return Completed(1 if complaints else 0, "", complaints)


TOOLS = {
    "mkdir": mkdir, "touch": touch, "rm": rm, "chmod": chmod, "sync": sync, "cat": cat, "cp": cp, "find": find,
    "dd": dd,
}  # fmt: skip
