"""The jails of a FreeBSD in memory, and as much of jail.conf(5) as an administrator writes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.fakes.world import FakeFreeBSD

#: Parameters of jail(8) itself; the kernel never hears of them.
FLAGS = ("persist", "mount.devfs", "exec.clean")
_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<word>(?:[^\s"'{};=+,#]|\+(?!=))+|"(?:\\.|[^"])*"|'(?:\\.|[^'])*')|(?P<mark>\+=|[{};=,])"""
)


@dataclass(eq=False)
class Process:
    """A process of a jail."""

    pid: int
    command: str
    ignores_term: bool = False


@dataclass(eq=False)
class Jail:
    """A prison of the kernel. ``root`` is the number of the mount that it stands on."""

    name: str
    jid: int
    path: str
    root: int
    hostname: str = ""
    ip4: str = "disable"
    persist: bool = False
    dying: bool = False
    processes: list[Process] = field(default_factory=list)


@dataclass
class Configured:
    """A jail of jail.conf: its parameters, each with all its values."""

    name: str
    parameters: dict[str, list[str]]

    def one(self, key: str, default: str = "") -> str:
        """The last value of a parameter."""
        return self.parameters[key][-1] if self.parameters.get(key) else default

    def has(self, flag: str) -> bool:
        """Whether a flag is set."""
        return self.parameters.get(flag) in ([], ["true"], ["1"])


# --- the kernel -------------------------------------------------------------------------------------------------------


def jails(world: FakeFreeBSD) -> list[Jail]:
    """The jails there are, after those are gone that have lost their last process or their root."""
    found: dict[str, Jail] = world.state.jails
    mounts = {mount.number for mount in world.state.mounts}
    for key, jail in list(found.items()):
        if not jail.dying and jail.root not in mounts:
            jail.processes.clear()  # the root was unmounted by force
            jail.persist = False
        if not jail.dying and not jail.persist and not jail.processes:
            del found[key]
    return sorted(found.values(), key=lambda jail: jail.jid)


def alive(world: FakeFreeBSD, name: str) -> Jail | None:
    """The living jail of a name or number."""
    return next((jail for jail in jails(world) if not jail.dying and name in (jail.name, str(jail.jid))), None)


def create(world: FakeFreeBSD, name: str, path: str, *, hostname: str = "", ip4: str = "disable") -> Jail:
    """A new prison, kept by jail(8) until its start is over."""
    jid = world.state.more.get("last jid", 0) + 1
    world.state.more["last jid"] = jid
    mount = world.walk(path)[0]
    jail = Jail(name, jid, path, mount.number, hostname, ip4, persist=True)
    world.state.jails[f"{name}" if name not in world.state.jails else f"{name}#{jid}"] = jail
    return jail


def remove(world: FakeFreeBSD, jail: Jail) -> None:
    """Kill its processes. It goes at once, or stays dying if a socket of it lingers."""
    jail.processes.clear()
    jail.persist = False
    for key, other in list(world.state.jails.items()):
        if other is jail:
            del world.state.jails[key]
    if jail.name in world.state.more.get("lingering", ()):
        jail.dying = True
        world.state.jails[f"{jail.name} (dying {jail.jid})"] = jail


def linger(world: FakeFreeBSD, name: str) -> None:
    """From now on, jails of that name die slowly: until ``drain``."""
    world.state.more["lingering"] = {*world.state.more.get("lingering", ()), name}


def drain(world: FakeFreeBSD) -> None:
    """The last sockets are gone, and so are the jails that were dying."""
    world.state.more.pop("lingering", None)
    for key, jail in list(world.state.jails.items()):
        if jail.dying:
            del world.state.jails[key]


def spawn(world: FakeFreeBSD, jail: Jail, command: str, *, ignores_term: bool = False) -> Process:
    """A process in a jail."""
    pid = world.state.more.get("last pid", 901) + 1
    world.state.more["last pid"] = pid
    process = Process(pid, command, ignores_term)
    jail.processes.append(process)
    return process


# --- jail.conf(5) -----------------------------------------------------------------------------------------------------


class BadConf(Exception):
    """The file is not in order."""


def parse_conf(text: str) -> dict[str, Configured]:
    """The jails of a file, in their order, with what is said outside of any jail as their default."""
    shared: dict[str, list[str]] = {}
    found: dict[str, dict[str, list[str]]] = {}
    tokens = list(_tokens(text))
    at, here, name = 0, shared, ""
    while at < len(tokens):
        if tokens[at] == "}":
            here, name, at = shared, "", at + 1
            continue
        if tokens[at] == ";":
            at += 1
            continue
        if at + 1 < len(tokens) and tokens[at + 1] == "{":
            name = _plain(tokens[at])
            here = found.setdefault(name, {})
            at += 2
            continue
        at = _statement(tokens, at, here)
    if name:
        raise BadConf("syntax error at end of file")
    return {name: _resolved(name, {**shared, **own}) for name, own in found.items()}


def _statement(tokens: list[str], at: int, here: dict[str, list[str]]) -> int:
    end = next((index for index in range(at, len(tokens)) if tokens[index] == ";"), None)
    if end is None:
        raise BadConf("syntax error at end of file")
    key, values = _plain(tokens[at]), [_plain(token) for token in tokens[at + 2 : end] if token != ","]
    if at + 1 == end:
        here[key] = []
    elif tokens[at + 1] == "+=":
        here[key] = [*here.get(key, []), *values]
    elif tokens[at + 1] == "=":
        here[key] = values
    else:
        raise BadConf(f"syntax error near {tokens[at + 1]!r}")
    return end + 1


def _resolved(name: str, parameters: dict[str, list[str]]) -> Configured:
    given = {
        key: [value.replace("$name", name).replace("${name}", name) for value in values]
        for key, values in parameters.items()
    }
    return Configured(name, {"name": [name], **given})


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadConf(f"syntax error near {text[at : at + 10]!r}")
        at = match.end()
        token = match["word"] or match["mark"]
        if token:
            yield token


def _plain(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token[0] in "\"'" else token
