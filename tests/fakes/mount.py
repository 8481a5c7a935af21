"""mount(8) and umount(8): FreeBSD's with zfs, nullfs and devfs, and Linux's with binds, as far as drivers call them."""

import json
from collections.abc import Sequence

from commands.drivers.door import Completed
from tests.fakes.tree import Node
from tests.fakes.world import NOT_THERE, Errno, FakeFreeBSD, Mount
from tests.fakes.zfs_model import mount_dataset
from tests.fakes.zfs_space import Refusal


def mount(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """Tell the table or mount something."""
    words = list(argv[1:])
    if world.state.platform == "linux":
        return _mount_linux(world, words)
    if not words:
        return Completed(0, "".join(f"{_told(one, ())}\n" for one in world.state.mounts), "")
    if words == ["-p"]:
        return Completed(0, "".join(f"{_fstab(one)}\n" for one in world.state.mounts), "")
    if words == ["-v"]:
        extra = [("fsid " + f"{one.number:016x}", "vnodes: count 3 ") for one in world.state.mounts]
        table = zip(world.state.mounts, extra, strict=True)
        return Completed(0, "".join(f"{_told(one, more)}\n" for one, more in table), "")
    if words[:2] == ["--libxo", "json"]:
        return Completed(0, _libxo(world), "")
    return _mount_freebsd(world, words)


# --- FreeBSD ----------------------------------------------------------------------------------------------------------


def _mount_freebsd(world: FakeFreeBSD, words: list[str]) -> Completed:
    kind, options, rest = "ufs", set[str](), list[str]()
    while words:
        word = words.pop(0)
        if word == "-t":
            kind = words.pop(0)
        elif word == "-o":
            options.update(words.pop(0).split(","))
        elif word == "-u":
            options.add("update")
        elif word == "-r":
            options.add("ro")
        elif word != "--":
            rest.append(word)
    tool = "mount" if kind in ("zfs", "ufs", "devfs") else f"mount_{kind}"
    if "update" in options:
        return Completed(1, "", f"mount: {rest[0]}: Device busy\n")
    special, path = rest[0], rest[-1].rstrip("/") or "/"
    node = world.find(path)
    if node is None:
        # mount(8) resolves its target with realpath(3) before anything else.
        return Completed(1, "", f"{tool}: {path}: {NOT_THERE}\n")
    try:
        if kind == "zfs":
            mount_dataset(world, special, path, read_only="ro" in options)
        elif kind == "nullfs":
            _mount_nullfs(world, special, path, "ro" in options)
        elif kind == "devfs":
            world.mount("devfs", path, "devfs", Node(children={"null": Node(kind="device", mode=0o666)}))
        elif kind == "tmpfs":
            world.mount("tmpfs", path, "tmpfs", Node(mode=0o1777), options=("local",))
        else:
            return Completed(1, "", f"{tool}: {special}: {NOT_THERE}\n")
    except Refusal:
        return Completed(1, "", f"{tool}: {special}: {NOT_THERE}\n")
    except Errno as error:
        shown = path if kind == "nullfs" else special
        return Completed(1, "", f"{tool}: {shown}: {error}\n")
    return Completed(0, "", "")


def _mount_nullfs(world: FakeFreeBSD, special: str, path: str, read_only: bool) -> None:
    lower, node = world.walk(special)
    there, covered = world.walk(path)
    if node.kind != "directory":
        raise Errno("Not a directory")
    if (there.kind == "nullfs" and there.path == path and there.root is node) or (lower is there and covered is node):
        raise Errno("Resource deadlock avoided")
    frozen = read_only or lower.read_only
    world.mount(special, path, "nullfs", node, read_only=frozen, options=("local",), lower=lower)


def _told(one: Mount, more: tuple[str, ...]) -> str:
    local, rest = [], list(one.options)
    if "local" in rest:
        rest.remove("local")
        local = ["local"]
    frozen = ["read-only"] if one.read_only and one.kind != "ufs" else []
    noatime = ["noatime"] if "noatime" in rest else []
    rest = [word for word in rest if word != "noatime"]
    return f"{one.special} on {one.path} ({', '.join([one.kind, *local, *noatime, *frozen, *rest, *more])})"


def _fstab(one: Mount) -> str:
    """A line of `mount -p`: fields are filled up with tabs, and parted by a blank where they are too long."""
    way = "ro" if one.read_only else "rw"
    options = ",".join([way, *(word for word in one.options if word not in ("local",))])
    numbers = "1 1" if one.path == "/" and one.kind == "ufs" else "0 0"
    special, path = _fill(one.special, 24), _fill(one.path, 24)
    return (
        f"{special}{path}{one.kind}\t{_fill(options, 16)}{numbers}"
        if one.kind != "zfs"
        else (f"{special}{path}{one.kind}\t{options} \t{numbers}")
    )


def _fill(text: str, width: int) -> str:
    if len(text) >= width:
        return f"{text} "
    return text + "\t" * -(-(width - len(text)) // 8)


def _libxo(world: FakeFreeBSD) -> str:
    entries = []
    for one in world.state.mounts:
        head = {"special": one.special, "node": one.path, "fstype": one.kind}
        text = json.dumps(head, separators=(",", ":"))
        words: list[str] = [word for word in ("local", "noatime") if word in one.options]
        words += ["read-only"] if one.read_only else []
        words += [word for word in one.options if word not in ("local", "noatime")]
        if words:
            text = f"{text[:-1]}, {json.dumps('opts')}: {json.dumps(words, separators=(',', ':'))}}}"
        entries.append(text)
    return f'{{"mount": {{"mounted": [{", ".join(entries)}]}}}}\n'


# --- Linux ------------------------------------------------------------------------------------------------------------


def _mount_linux(world: FakeFreeBSD, words: list[str]) -> Completed:
    kind, options, rest = "", set[str](), list[str]()
    while words:
        word = words.pop(0)
        if word == "-t":
            kind = words.pop(0)
        elif word == "-o":
            options.update(words.pop(0).split(","))
        elif word == "--move":
            options.add("move")
        elif word != "--":
            rest.append(word)
    special, path = rest[0], rest[-1]
    if world.find(path) is None:
        return Completed(32, "", f"mount: {path}: mount point does not exist.\n")
    try:
        if "move" in options:
            (*_, moving) = world.mounts_at(special)
            moving.parent, moving.covers = world.walk(path)
            moving.path = path
        elif "remount" in options:
            world.mounts_at(path)[-1].read_only = "ro" in options
        elif "bind" in options:
            lower, node = world.walk(special)
            world.mount(lower.special, path, lower.kind, node, lower=lower)
            world.point("mount: bound, not yet read-only")
            world.mounts_at(path)[-1].read_only = lower.read_only or "ro" in options
        elif kind == "zfs":
            mount_dataset(world, special, path, read_only="ro" in options)
        else:
            return Completed(32, "", f"mount: {path}: unknown filesystem type '{kind}'.\n")
    except Refusal:
        return Completed(1, "", f"filesystem '{special}' cannot be mounted, unable to open the dataset\n")
    except Errno as error:
        return Completed(32, "", f"mount: {path}: {str(error).lower()}.\n")
    return Completed(0, "", "")


def linux_table(world: FakeFreeBSD) -> str:
    """/proc/self/mountinfo; see proc(5)."""
    lines = []
    for one in world.state.mounts:
        lowest = one
        while lowest.lower is not None:
            lowest = lowest.lower
        parent = one.parent.number if one.parent is not None and one.parent in world.state.mounts else 0
        inside = _path_in(lowest.root, one.root) or "/"
        way = "ro" if one.read_only else "rw"
        special, path = (text.replace(" ", "\\040") for text in (one.special, one.path))
        lines.append(f"{one.number} {parent} 0:{lowest.number} {inside} {path} {way} - {one.kind} {special} rw\n")
    return "".join(lines)


def _path_in(root: Node, wanted: Node) -> str | None:
    if root is wanted:
        return ""
    for name, child in root.children.items():
        below = _path_in(child, wanted)
        if below is not None:
            return f"/{name}{below}"
    return None


# --- both -------------------------------------------------------------------------------------------------------------


def umount(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """Unmount the topmost mount at each path; with -f whatever is on it."""
    force = "-f" in argv
    status, complaints = 0, ""
    for path in [word for word in argv[1:] if word not in ("-f", "--", "-n")]:
        linux = world.state.platform == "linux"
        here = world.mounts_at(path)
        if not here:
            status = 32 if linux else 1
            if linux:
                complaints += f"umount: {path}: not mounted.\n"
            elif world.find(path) is None:
                complaints += f"umount: {path}: statfs: {NOT_THERE}\numount: {path}: unknown file system\n"
            else:
                complaints += f"umount: {path}: not a file system root directory\n"
            continue
        try:
            world.unmount(here[-1], force=force)
        except Errno as error:
            status = 32 if linux else 1
            complaints += (
                f"umount: {path}: target is busy.\n" if linux else f"umount: unmount of {path} failed: {error}\n"
            )
    return Completed(status, "", complaints)


TOOLS = {"mount": mount, "umount": umount}
