"""jail(8), jls(8), jexec(8) and `service jail`, as FreeBSD 15.1 answers."""

import re
import shlex
from collections.abc import Callable, Sequence

from commands.drivers.door import Completed
from tests.fakes import jail_show, shell, tools
from tests.fakes.jail_model import BadConf, Configured, Jail, alive, create, jails, parse_conf, remove, spawn
from tests.fakes.tree import Node
from tests.fakes.world import Errno, FakeFreeBSD

#: A command that takes longer than this never ends.
_FOREVER_S = 60


class Trouble(Exception):
    """What jail(8) complains of, without its name in front."""


# --- jail(8) ----------------------------------------------------------------------------------------------------------


def jail(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """jail [-v] [-f FILE] -c|-r|-R NAME, jail -c PARAMETER…, jail -f FILE -e SEPARATOR."""
    words, conf, verb, verbose, separator = list(argv[1:]), "/etc/jail.conf", "", False, ""
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word == "-f":
            conf = words.pop(0)
        elif word == "-e":
            verb, separator = "-e", words.pop(0)
        elif word == "-v":
            verbose = True
        else:
            verb = word
    out: list[str] = []
    try:
        if verb == "-c" and any("=" in word for word in words):
            _from_words(world, words)
        else:
            configured = _configured(world, conf)
            _VERBS[verb](world, configured, words[0] if words else separator, out, verbose)
    except Trouble as trouble:
        return Completed(1, "".join(out), f"jail: {trouble}\n")
    return Completed(0, "".join(out), "")


def _configured(world: FakeFreeBSD, conf: str) -> dict[str, Configured] | None:
    node = world.find(conf)
    if node is None:
        if conf == "/etc/jail.conf":
            return None
        raise Trouble(f"{conf}: No such file or directory")
    try:
        return parse_conf(node.blob.content.decode())
    except BadConf as error:
        raise Trouble(f"{conf}: {error}") from error


def _from_words(world: FakeFreeBSD, words: list[str]) -> None:
    """A jail of parameters alone; where it is there already, the kernel names it by its number."""
    given = {key: value for key, _, value in (word.partition("=") for word in words)}
    there = alive(world, given["name"])
    if there is not None:
        raise Trouble(f'"{there.jid}" already exists')
    hostname, ip4 = given.get("host.hostname", ""), given.get("ip4", "disable")
    made = create(world, given["name"], given["path"], hostname=hostname, ip4=ip4)
    made.persist = "persist" in given


def _create(world: FakeFreeBSD, conf: dict[str, Configured] | None, name: str, out: list[str], _v: bool) -> None:
    wanted = (conf or {}).get(name)
    if wanted is None:
        raise Trouble(f'"{name}" not found')
    if alive(world, name) is not None:
        raise Trouble(f'"{name}" already exists')
    for other in wanted.parameters.get("depend", []):
        if alive(world, other) is None:
            _create(world, conf, other, out, False)
    if world.state.more.get("the dying refuse") and any(one.name == name for one in jails(world)):
        raise Trouble(f'"{name}" is dying')
    path = wanted.one("path")
    try:
        for line in wanted.parameters.get("mount", []):
            special, place, kind = line.split()[:3]
            if tools.run(world, ["mount", "-t", kind, special, place]).status != 0:
                raise Trouble(f"{name}: /sbin/mount -t {kind} {special} {place}: failed")
        if wanted.has("mount.devfs"):
            world.walk(f"{path}/dev")
            world.mount("devfs", f"{path}/dev", "devfs", Node())
            world.point(f"jail -c {name}: devfs is mounted")
        made = create(world, name, path, hostname=wanted.one("host.hostname"), ip4=wanted.one("ip4", "disable"))
    except Errno as error:
        raise Trouble(f"{name}: {path}: {error}") from error
    world.point(f"jail -c {name}: created")
    out.append(f"{name}: created\n")
    try:
        _each(world, made, wanted, "exec.start", out)
    except Trouble:
        remove(world, made)
        out.append(f"{name}: removed\n")
        _unmount(world, wanted)
        raise
    made.persist = wanted.has("persist")
    jails(world)


def _remove(world: FakeFreeBSD, conf: dict[str, Configured] | None, name: str, out: list[str], verbose: bool) -> None:
    found = alive(world, name)
    if found is None:
        raise Trouble(f'"{name}" not found')
    wanted = (conf or {}).get(name, Configured(name, {}))
    for other in list((conf or {}).values()):
        if name in other.parameters.get("depend", []) and alive(world, other.name) is not None:
            _remove(world, conf, other.name, out, verbose)
    _each(world, found, wanted, "exec.stop", out, verbose)
    world.point(f"jail -r {name}: exec.stop is over")
    if verbose and found.processes:
        out.append(f"{name}: sent SIGTERM to: {' '.join(str(one.pid) for one in found.processes)}\n")
    if any(one.ignores_term for one in found.processes):
        world.state.now += int(wanted.one("stop.timeout", "10"))
    remove(world, found)
    world.point(f"jail -r {name}: removed")
    if conf is not None:
        out.append(f"{name}: removed\n")
    _unmount(world, wanted, out if verbose else None)


def _remove_by_force(world: FakeFreeBSD, _c: dict[str, Configured] | None, name: str, _o: list[str], _v: bool) -> None:
    found = alive(world, name)
    if found is None:
        raise Trouble(f'"{name}" not found')
    remove(world, found)


def _exhibit(_w: FakeFreeBSD, conf: dict[str, Configured] | None, separator: str, out: list[str], _v: bool) -> None:
    for one in (conf or {}).values():
        told = []
        for key, values in one.parameters.items():
            value = ",".join(values)
            value = f'"{value}"' if " " in value else value
            told.append(f"{key}={value}" if values else key)
        out.append(separator.join(told) + "\n")


Verb = Callable[[FakeFreeBSD, dict[str, Configured] | None, str, list[str], bool], None]
_VERBS: dict[str, Verb] = {"-c": _create, "-r": _remove, "-R": _remove_by_force, "-e": _exhibit}


def _unmount(world: FakeFreeBSD, wanted: Configured, told: list[str] | None = None) -> None:
    place = f"{wanted.one('path')}/dev"
    if wanted.has("mount.devfs") and world.mounts_at(place):
        if told is not None:
            told.append(f"{wanted.name}: run command: /sbin/umount {place}\n")
        world.unmount(world.mounts_at(place)[-1], force=True)
    for line in reversed(wanted.parameters.get("mount", [])):
        tools.run(world, ["umount", line.split()[1]])


# --- what runs in a jail ----------------------------------------------------------------------------------------------


def _each(world: FakeFreeBSD, made: Jail, wanted: Configured, key: str, out: list[str], verbose: bool = False) -> None:
    """Run the commands of a parameter, one after the other; a command that fails or takes too long is trouble."""
    for command in wanted.parameters.get(key, []):
        shown = f"/bin/sh -c {command}" if re.search(r"[!\"$&'()*;<>?\[\\\]`{|}~]", command) else command
        if verbose:
            out.append(f"{made.name}: run command in jail: {shown}\n")
        sleep = re.fullmatch(r"sleep (\d+)", command)
        if sleep is not None:
            _sleep(world, made, command, int(sleep[1]), int(wanted.one("exec.timeout", "0")))
            continue
        completed = run_inside(world, made, command)
        out.append(completed.stdout)
        if completed.status != 0:
            raise Trouble(f"{made.name}: {shown}: failed")


def _sleep(world: FakeFreeBSD, made: Jail, command: str, seconds: int, limit: int) -> None:
    from tests.fakes.host import Hang

    if limit and seconds > limit:
        world.state.now += limit
        raise Trouble(f"{made.name}: {command}: timed out")
    if seconds > _FOREVER_S:
        spawn(world, made, command)
        raise Hang
    world.state.now += seconds


def run_inside(world: FakeFreeBSD, made: Jail, command: str) -> Completed:
    """A command in a jail. What is put into the background becomes a process of the jail."""
    argv = shlex.split(command)
    if argv[0] == "/bin/sh" and argv[1].startswith("/etc/rc"):
        if world.find(f"{made.path}{argv[1]}") is None:
            return Completed(1, "", f"sh: cannot open {argv[1]}: No such file or directory\n")
        if argv[1] == "/etc/rc":
            spawn(world, made, "syslogd")
        return Completed(0, "", "")
    if argv[0] not in ("/bin/sh", "sh") or argv[1:2] != ["-c"]:
        return _run(world, argv)
    out = ""
    *background, last = re.split(r"(?<!>)&(?!\d)", argv[2])
    for part in background:
        spawn(world, made, part.strip(), ignores_term="trap" in part)
    if not last.strip():
        return Completed(0, out, "")
    completed = shell.sh(world, ["sh", "-c", last.strip()], "")
    return Completed(completed.status, out + completed.stdout, completed.stderr)


def _run(world: FakeFreeBSD, argv: Sequence[str]) -> Completed:
    if not tools.has(world, argv[0]):
        return Completed(1, "", f"jexec: execvp: {argv[0]}: No such file or directory\n")
    return tools.run(world, argv)


def jexec(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """jexec [-l] NAME COMMAND."""
    name, *command = [word for word in argv[1:] if word != "-l"]
    found = alive(world, name)
    if found is None:
        return Completed(1, "", f'jexec: jail "{name}" not found\n')
    return run_inside(world, found, shlex.join(command))


# --- jls(8), service(8), sh(1) ----------------------------------------------------------------------------------------


def jls(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """jls [-cdnNv] [-j NAME] [--libxo json] [PARAMETER…]."""
    words, flags, name, libxo = list(argv[1:]), "", None, ""
    rest: list[str] = []
    while words:
        word = words.pop(0)
        if word == "--libxo":
            libxo = words.pop(0)
        elif word.startswith("-") and word.endswith("j"):
            flags, name = flags + word[1:-1], words.pop(0)
        elif word.startswith("-"):
            flags += word[1:]
        else:
            rest.append(word)
    found = [one for one in jails(world) if ("d" in flags or not one.dying) and name in (None, one.name, str(one.jid))]
    missing = name is not None and not found
    if "c" in flags:
        return Completed(1 if missing else 0, "", "")
    complaint = f'jls: jail "{name}" not found\n' if missing else ""
    parameters = [] if rest == ["all"] else rest
    if libxo:
        text = jail_show.as_json(found, flags, parameters, pretty="pretty" in libxo)
    elif "n" in flags:
        text = "".join(f"{jail_show.as_words(one, parameters)}\n" for one in found)
    else:
        text = jail_show.as_table(found, "N" in flags)
    return Completed(1 if missing else 0, text, complaint)


def service(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """service jail onestart|onestop|onestatus: its status says nothing."""
    verb, names = argv[2], list(argv[3:])
    if verb == "onestatus":
        return Completed(0, jail_show.as_table([one for one in jails(world) if not one.dying], True), "")
    said, complaints = "", ""
    for name in names:
        conf = next((p for p in (f"/etc/jail.conf.d/{name}.conf", "/etc/jail.conf") if world.find(p)), None)
        if conf is None:
            complaints += (
                f"/etc/rc.d/jail: WARNING: Invalid configuration for {name}  (no jail.conf, no hostname, or no path).  "
                f"Jail {name} was ignored.\n"
            )
        elif verb == "onestart":
            completed = jail(world, ["jail", "-f", conf, "-c", name], "")
            said += f" {name}" if completed.status == 0 else f' cannot start jail  "{name}": \n{completed.stderr}'
        elif alive(world, name) is not None:
            jail(world, ["jail", "-f", conf, "-r", name], "")
            said += f" {name}"
    return Completed(0, f"{'Starting' if verb == 'onestart' else 'Stopping'} jails:{said}.\n", complaints)


def sh(world: FakeFreeBSD, argv: Sequence[str], stdin: str) -> Completed:
    """sh(1), with the script that keeps a command's output in a file; a script of a build is believed to work."""
    if argv[1:3] == ["-eu", "-c"]:
        return Completed(0, "", "")
    if len(argv) > 5 and argv[2].endswith('exec "$@" >>"$log" 2>&1'):
        completed = tools.run(world, argv[5:], stdin)
        node = world.find(argv[4])
        old = node.blob.content if node is not None else b""
        world.write(argv[4], old + (completed.stdout + completed.stderr).encode())
        return Completed(completed.status, "", "")
    return shell.sh(world, argv, stdin)


TOOLS = {"jail": jail, "jls": jls, "jexec": jexec, "service": service, "sh": sh}
