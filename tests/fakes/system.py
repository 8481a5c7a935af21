"""The small tools that tell of the system: uname, freebsd-version, sysctl, kenv, date, id, procstat, time, tar."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from commands.drivers.door import Completed
from tests.fakes.world import FakeFreeBSD

_RELEASE = "15.1-RELEASE-p1"
_FIRST_BOOT_S = 1795353924
_BETWEEN_BOOTS_S = 3600


def uname(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """uname -s, uname -a."""
    if world.state.platform == "linux":
        return Completed(0, "Linux\n", "")
    told = f"FreeBSD fbsd {_RELEASE} FreeBSD {_RELEASE} JAILTEST amd64" if "-a" in argv else "FreeBSD"
    return Completed(0, f"{told}\n", "")


def sysctl(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """sysctl -n NAME; the boot time moves with the clock, by ``world.state.more["clock was set by"]`` seconds."""
    seconds = _FIRST_BOOT_S + (world.state.boot - 1) * _BETWEEN_BOOTS_S + world.state.more.get("clock was set by", 0)
    shown = f"{datetime.fromtimestamp(seconds, UTC):%a %b %e %H:%M:%S %Y}"
    known = {
        "kern.boottime": f"{{ sec = {seconds}, usec = 180917 }} {shown}\n",
        "kern.hostuuid": "81385db5-ef8e-414f-9b9a-b3512aa0f2e5\n",
        "kern.boot_id": "",
        "kern.clockrate": "{ hz = 100, tick = 10000, profhz = 8128, stathz = 127 }\n",
    }
    if argv[-1] not in known:
        return Completed(1, "", f"sysctl: unknown oid '{argv[-1]}'\n")
    return Completed(0, known[argv[-1]], "")


def kenv(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """kenv -q NAME, kenv NAME=VALUE: gone at a reboot; refused where ``more["kenv is refused"]`` is set."""
    kept: dict[str, str] = world.state.more.setdefault("kenv", {})
    boot, key = world.state.boot, argv[-1].partition("=")[0]
    if "=" not in argv[-1]:
        value = kept.get(f"{boot} {key}")
        return Completed(255, "", "") if value is None else Completed(0, f"{value}\n", "")
    if world.state.more.get("kenv is refused"):
        return Completed(1, "", f"kenv: unable to set {key}: Operation not permitted\n")
    kept[f"{boot} {key}"] = argv[-1].partition("=")[2]
    return Completed(0, f'{key}="{kept[f"{boot} {key}"]}"\n', "")


def time(world: FakeFreeBSD, argv: Sequence[str], stdin: str) -> Completed:
    """time COMMAND: how long it took by the clock of the world."""
    from tests.fakes import tools

    before = world.state.now
    completed = tools.run(world, argv[1:], stdin)
    took = f"{world.state.now - before:12.2f} real {0.04:12.2f} user {0.03:12.2f} sys\n"
    return Completed(completed.status, completed.stdout, completed.stderr + took)


def tar(world: FakeFreeBSD, argv: Sequence[str], _stdin: str) -> Completed:
    """tar -xpf FILE -C ROOT, of an archive that is a list of paths: a slash at the end makes a directory."""
    archive, root = world.find(argv[2]), argv[4]
    if archive is None:
        return Completed(1, "", f"tar: Error opening archive: Failed to open '{argv[2]}'\n")
    for path in archive.blob.content.decode().split():
        if path.endswith("/"):
            world.make_directory(f"{root}/{path}")
        elif "/" in path:
            world.make_directory(f"{root}/{path}".rpartition("/")[0])
            version = b'USERLAND_VERSION="15.1-RELEASE"\n' if path.endswith("freebsd-version") else b"#!/bin/sh\n"
            world.write(f"{root}/{path}", version, 0o755)
    return Completed(0, "", "")


def _says(text: str) -> Callable[[FakeFreeBSD, Sequence[str], str], Completed]:
    return lambda _world, _argv, _stdin: Completed(0, text, "")


TOOLS = {
    "uname": uname, "sysctl": sysctl, "kenv": kenv, "time": time,
    "freebsd-version": _says(f"{_RELEASE}\n"),
    "date": _says("2026-11-22T13:32:04Z\n"),
    "id": _says("uid=0(root) gid=0(wheel) groups=0(wheel),5(operator)\n"),
    "tar": tar,
    "sha256": _says(f"{'5' * 64}\n"),
    "pkg": _says("nginx\t1.28.0,3\n"),
    "procstat": _says("  PID    TID COMM             SIG     FLAGS\n    1 100002 init             HUP      --\n"),
}  # fmt: skip
