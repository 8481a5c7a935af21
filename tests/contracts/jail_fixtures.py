"""Small roots and the jails on them: for the contracts of jails, health, builders and roots."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from commands.drivers.base import Jails, JailSpec, JailState, MountedVolume, Source
from commands.drivers.host import LocalHost
from commands.drivers.jail_layout import cgroup_of
from commands.drivers.lxc import LxcJails
from commands.drivers.memory import MemoryWorld
from commands.drivers.nspawn import NspawnJails
from commands.drivers.oci import OciJails
from tests.fakes.jail_site import ONE, ROOT, TWO
from tests.fakes.jail_site import jail_site as freebsd_site

PROGRAMS = ("sh", "sleep", "cat", "env", "id", "setpriv")
#: nspawn takes nothing for a root that has no /usr.
MOUNT_POINTS = ("proc", "sys", "dev", "run", "tmp", "data", "usr")

#: A first process that ends at once when it is told to; plain ``sleep`` would not feel a signal as process 1.
SERVE = "trap 'exit 0' TERM; while :; do sleep 10 & wait $!; done"


def tiny_root(directory: Path, programs: tuple[str, ...] = PROGRAMS) -> Path:
    """A root of a few of this machine's own programs and the libraries that they need."""
    for name in ("bin", *MOUNT_POINTS):
        (directory / name).mkdir(parents=True)
    for program in programs:
        found = shutil.which(program)
        assert found is not None, f"{program} is not installed"
        shutil.copy2(Path(found).resolve(), directory / "bin" / program)
        listed = subprocess.run(["ldd", found], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+) \(0x", listed):
            target = directory / library.lstrip("/")
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(Path(library).resolve(), target)
    return directory


def eventually(holds: Callable[[], object], timeout_s: float = 5.0) -> bool:
    """Whether ``holds`` comes true in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


@dataclass
class JailBench:
    """One kind of jails, a jail to start, the source of its root and that of another root."""

    jails: Jails
    spec: JailSpec
    source: Source
    other: Source
    lose_root: Callable[[], object]


@contextmanager
def memory_bench(_directory: Path) -> Iterator[JailBench]:
    """A jail in memory."""
    world = MemoryWorld()
    (driver, jails), *_ = world.drivers().jails.items()
    for release in ("debian@00000001", "debian@00000002"):
        world.put(f"release:{release}", "a root")
    world.put("mount:/roots/web", "debian@00000001")
    spec = JailSpec(driver=driver, name="web", root="/roots/web", command=("/bin/sh", "-c", SERVE))
    source, other = (Source("memory", release) for release in ("debian@00000001", "debian@00000002"))
    yield JailBench(jails, spec, source, other, lose_root=lambda: world.drop("mount:/roots/web"))


@contextmanager
def real_bench(directory: Path, driver: str) -> Iterator[JailBench]:
    """A real container of one of the runtimes."""
    with jail_site(directory, driver) as site:
        other = directory / "other"
        other.mkdir()
        bench = JailBench(
            site.jails,
            site.spec(),
            Source("bind", str(site.root)),
            Source("bind", str(other)),
            lose_root=lambda: site.root.rename(directory / "lost"),
        )
        yield bench


@contextmanager
def freebsd_bench(_directory: Path) -> Iterator[JailBench]:
    """A FreeBSD jail, on a FreeBSD in memory that answers as a real one has answered."""
    site = freebsd_site()
    lose = f"umount {ROOT}"
    yield JailBench(site.jails, site.spec(), ONE, TWO, lose_root=lambda: site.sh(lose))


@dataclass
class JailSite:
    """A tiny root, a volume mounted at /data, and the containers of one runtime, which are gone at the end."""

    driver: str
    directory: Path
    host: LocalHost
    jails: Jails
    root: Path
    data: Path
    made: list[JailSpec] = field(default_factory=list)

    def spec(self, script: str = SERVE, **changes: Any) -> JailSpec:
        """A jail that runs a shell script."""
        values: dict[str, Any] = {
            "driver": self.driver,
            "name": "rswap-test",
            "root": str(self.root),
            "command": ("/bin/sh", "-c", script),
            "volumes": (MountedVolume(name="data", source=str(self.data), path="/data"),),
            "stop_timeout_s": 5.0,
        }
        spec = JailSpec.model_validate({**values, **changes})
        self.made.append(spec)
        return spec

    @property
    def home(self) -> Path:
        """Where the driver keeps the files of the jail."""
        return self.directory / self.driver / "rswap-test"

    def left_in(self, spec: JailSpec) -> list[int]:
        """The processes whose root is the root of the jail, found without any help from a runtime or cgroups."""
        wanted = os.stat(spec.root)
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                root = os.stat(process / "root")
                if (root.st_dev, root.st_ino) == (wanted.st_dev, wanted.st_ino):
                    found.append(int(process.name))
        return found

    def first_process(self, spec: JailSpec) -> int:
        """The process that is number 1 inside."""
        (first,) = [pid for pid in self.left_in(spec) if status_of(pid, "NSpid")[1:] == ["1"]]
        return first

    def monitor(self, spec: JailSpec) -> int:
        """The runtime's own process, whose child the first process of the jail is."""
        return int(status_of(self.first_process(spec), "PPid")[0])


def status_of(pid: int, field: str) -> list[str]:
    """The words of a field of /proc/PID/status."""
    match = re.search(rf"^{field}:\s*(.*)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match is not None
    return match[1].split()


def command_of(pid: int) -> bytes:
    """The words of a process, each ended by a zero byte; nothing when it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


#: The runtimes that run here for real: the driver, and a program without which it does not.
RUNTIMES: dict[str, tuple[type[LxcJails] | type[OciJails] | type[NspawnJails], str]] = {
    "lxc": (LxcJails, "lxc-start"),
    "oci": (OciJails, "runc"),
    "nspawn": (NspawnJails, "systemd-nspawn"),
}


@contextmanager
def jail_site(directory: Path, driver: str, host: LocalHost | None = None) -> Iterator[JailSite]:
    """Somewhere for the containers of a runtime to run."""
    kind, program = RUNTIMES[driver]
    if os.geteuid() != 0 or shutil.which(program) is None:
        pytest.skip(f"needs root and {program}")
    (directory / driver).mkdir()
    data = directory / "volume with blanks"
    data.mkdir()
    used = host or LocalHost()
    jails = kind(used, str(directory / driver))
    site = JailSite(driver, directory, used, jails, tiny_root(directory / "root"), data)
    try:
        yield site
    finally:
        for spec in {spec.name: spec for spec in site.made}.values():
            jails.stop(spec.model_copy(update={"stop_timeout_s": 0.0}))
            assert jails.state(spec) is JailState.STOPPED
            jails.stop(spec)  # nothing that helps a jail may outlive it
            cgroup = cgroup_of(str(directory / driver / spec.name))
            assert eventually(lambda cgroup=cgroup: remove_cgroups(cgroup))  # type: ignore[misc]


def remove_cgroups(path: str) -> bool:
    """Remove the cgroups of a jail, which LXC leaves; True once no process keeps one."""
    tops = [Path("/sys/fs/cgroup", controller, path) for controller in ("", *os.listdir("/sys/fs/cgroup"))]
    for top in tops:
        for group, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                os.rmdir(group)
    return not any(top.exists() for top in tops)
