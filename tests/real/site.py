"""A real host: a Btrfs pool in an image, LXC jails with a small web server, and engines that run as processes.

Each engine is a forked process, so that it can be killed with SIGKILL at any point without paying for a fresh
interpreter; nothing of the parent but the code is used in it.
"""

import http.client
import io
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL

from commands.bootstrap import Session, compose, make_drivers, make_origin
from commands.config import Config
from commands.drivers.base import Jails, JailSpec, JailState
from commands.drivers.host import LocalHost
from commands.drivers.jail_layout import cgroup_of
from commands.drivers.mounts import LinuxMounts
from commands.transactions.interrupt import Interrupt
from commands.transactions.plan import Plan, Purpose, jail_settled
from ledger.clock import SystemClock
from ledger.errors import LedgerLocked
from ledger.reader import LedgerReader
from tests.real.gate import GatedHost
from tests.site import GatedLedger

BUSYBOX = "/bin/busybox"
DIRECTORIES = [
    "bin",
    "dev",
    "dev/pts",
    "etc",
    "home",
    "proc",
    "root",
    "run",
    "srv",
    "srv/www",
    "sys",
    "tmp",
    "usr",
    "var",
    "var/log",
]
#: As the first process of a jail, httpd would not feel SIGTERM; the shell does.
RUN = """#!/bin/sh
trap 'exit 0' TERM
httpd -f -p "127.0.0.1:$PORT" -h /srv/www &
wait
"""


def free_port() -> int:
    """A TCP port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_root(path: Path) -> None:
    """A root of two megabytes: busybox, a page and the directories that a jail wants."""
    applets = [name for name in LocalHost().run([BUSYBOX, "--list"]).stdout.split() if name != "busybox"]
    with tarfile.open(path, "w") as tar:
        for name in DIRECTORIES:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for applet in applets:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        tar.add(BUSYBOX, "bin/busybox")
        for name, content, mode in (("srv/run", RUN, 0o755), ("srv/www/index.html", "one\n", 0o644)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content.encode()))


class RealSite:
    """One state directory with everything in it; ``close`` leaves nothing behind."""

    def __init__(
        self, directory: Path, jails: tuple[str, ...] = ("web",), driver: str = "lxc", storage: str = "btrfs"
    ) -> None:
        self.directory = directory
        self.driver = driver
        self.ports = {jail: free_port() for jail in jails}
        make_root(directory / "root.tar")
        self.script("to-two", "echo two > /srv/www/index.html")
        self.script("to-broken", "rm /srv/www/index.html")
        self.config = Config.model_validate(
            {
                "state_directory": str(directory / "state"),
                "storage": {
                    "driver": storage,
                    "path": str(directory / "pool"),
                    "keep_free": "16M",
                    **({"image": str(directory / "pool.img"), "size": "4G"} if storage == "btrfs" else {}),
                },
                "template": {
                    "tiny": {"bootstrap": "tar", "file": str(directory / "root.tar"), "upgrade": "script",
                             "upgrade_script": str(directory / "to-two")}
                },
                "jail": {jail: self._jail(port, driver) for jail, port in self.ports.items()},
            }
        )  # fmt: skip
        self.boot = LocalHost().boot_id()

    def write_config(self) -> Path:
        """The configuration as a file, for the command line."""
        path = self.directory / "rootswap.toml"
        path.write_text("\n".join(toml_lines(self.config.model_dump(mode="json", exclude_defaults=True))))
        path.chmod(0o600)
        return path

    @staticmethod
    def _jail(port: int, driver: str) -> dict[str, object]:
        return {
            "template": "tiny",
            "driver": driver,
            "command": ["/bin/sh", "/srv/run"],
            "environment": {"PORT": str(port)},
            "volumes": {"log": "/var/log", "home": "/home"},
            "health": {"page": {"http": f"http://127.0.0.1:{port}/", "timeout_s": 2}},
            "stop_timeout_s": 5,
        }

    def script(self, name: str, content: str) -> str:
        """A script for ``template upgrade`` to run inside the template."""
        path = self.directory / name
        path.write_text(f"#!/bin/sh\n{content}\n")
        path.chmod(0o755)
        return str(path)

    def fork(self, work: Callable[[Session], None], gate: Callable[[str], None] = lambda _point: None) -> int:
        """Run ``work`` with an engine in a process of its own; its exit status, negative for a signal."""
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self._work(work, gate)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _work(self, work: Callable[[Session], None], gate: Callable[[str], None]) -> None:
        clock = SystemClock()
        origin = make_origin(self.boot, ("test",))
        with patiently(lambda: GatedLedger.create(Path(self.config.ledger_directory), origin, clock)) as ledger:
            ledger.gate = gate
            drivers = make_drivers(self.config, GatedHost(ledger.lock_fd, gate), clock, Interrupt())
            work(compose(self.config, ledger, drivers, Interrupt(), lambda _plan, _record: None, self.boot))

    def execute(self, request: Callable[[Session], Plan | None], gate: Callable[[str], None] | None = None) -> int:
        """Plan and execute in a process of its own; exit status 0 for committed, 1 for any other end."""

        def work(session: Session) -> None:
            plan = request(session)
            assert plan is not None
            session.engine.execute(plan, Purpose(reason="test")).raise_unless_committed()

        return self.fork(work, gate or (lambda _point: None))

    def recover(self, gate: Callable[[str], None] = lambda _point: None) -> int:
        """Recover in a process of its own."""

        def work(session: Session) -> None:
            assert session.recoverer.recover().stuck == ()

        return self.fork(work, gate)

    def settle(self) -> None:
        """Pool, template with two releases, every jail on the first."""
        assert self.execute(lambda session: session.requests.init()) == 0
        assert self.execute(lambda session: session.requests.build("tiny")) == 0
        for jail in self.ports:
            assert self.execute(self.upgrade(jail)) == 0
        assert self.execute(lambda session: session.requests.upgrade_template("tiny", None)) == 0

    @staticmethod
    def upgrade(jail: str) -> Callable[[Session], Plan | None]:
        """The request to bring a jail to the latest release."""
        return lambda session: session.requests.upgrade(jail, None)

    def start_by_hand(self, jail: str = "web") -> None:
        """What somebody may do beside the engine, with the runtime's own tools where it has any."""
        home = f"{self.config.state_directory}/{self.driver}/{jail}"
        command: list[str] = []
        match self.driver:
            case "lxc":
                command = ["lxc-start", "-n", jail, "-P", str(Path(home).parent), "-d", "--", "/bin/sh", "/srv/run"]
            case "oci":
                command = ["runc", "--root", f"{home}/state", "run", "--detach", "--bundle", home, jail]
            case _:
                self.runtime().start(self.spec(jail))
        if command:
            subprocess.run(command, check=True, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)

    def stop_by_hand(self, jail: str = "web") -> None:
        """The reverse."""
        home = f"{self.config.state_directory}/{self.driver}/{jail}"
        match self.driver:
            case "lxc":
                subprocess.run(["lxc-stop", "-n", jail, "-P", str(Path(home).parent)], check=True)
            case "oci":
                subprocess.run(["runc", "--root", f"{home}/state", "kill", jail, "SIGTERM"], check=True)
                while self.runtime().state(self.spec(jail)) is not JailState.STOPPED:
                    time.sleep(0.001)
            case _:
                self.runtime().stop(self.spec(jail))

    def runtime(self) -> Jails:
        """The driver of the jails, without an engine."""
        return make_drivers(self.config, LocalHost(), SystemClock(), Interrupt()).jails[self.driver]

    def spec(self, jail: str = "web") -> JailSpec:
        """The jail as it was deployed."""
        with LedgerReader.open(Path(self.config.ledger_directory)) as reader:
            settled = jail_settled(reader.settled(f"jail:{jail}"))
        assert settled is not None
        return settled.deployment.jail

    def page(self, jail: str = "web") -> str:
        """What the jail serves; an exception if it does not answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[jail], timeout=2)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode().strip()
        finally:
            connection.close()

    def look(self, jail: str = "web") -> dict[str, object]:
        """The whole host as an outsider sees it: mounts, subvolumes, what is served, and what the ledger says."""
        host = LocalHost()
        base = str(self.directory)
        mounts = [line.split()[3:5] for line in Path("/proc/self/mountinfo").read_text().splitlines() if base in line]
        if self.config.storage.driver == "btrfs":
            listed = host.run(["btrfs", "subvolume", "list", "-o", f"{base}/pool"]).stdout.splitlines()
            volumes = sorted(line.rpartition("path ")[2] for line in listed)
        else:
            volumes = sorted(str(path.parent) for path in (self.directory / "pool/rootswap").glob("*/*/**/mark"))
        with LedgerReader.open(Path(self.config.ledger_directory)) as reader:
            reader.verify()
            settled = jail_settled(reader.settled(f"jail:{jail}"))
            stuck_or_open = [row.transaction for row in reader.transactions() if row.state in OPEN]
        return {
            "mounts": sorted(mounts),
            "subvolumes": [name for name in volumes if "/snapshots/" not in name],
            "page": self.page(jail),
            "release": settled.deployment.release if settled else None,
            "open": stuck_or_open,
            "leftovers": sorted(str(path) for path in (self.directory / "state/jails").glob("*/stage/*")),
        }

    def close(self) -> None:
        """Stop the jails, unmount everything, delete everything."""
        clock = SystemClock()
        host = LocalHost()
        drivers = make_drivers(self.config, host, clock, Interrupt())
        ledger = Path(self.config.ledger_directory)
        if (ledger / "ledger.db").exists():
            with LedgerReader.open(ledger) as reader:
                for target, stored in reader.settled_targets().items():
                    settled = jail_settled(stored) if target.startswith("jail:") else None
                    jail = settled.deployment.jail if settled else None
                    if jail and drivers.jails[jail.driver].state(jail) is not JailState.STOPPED:
                        drivers.jails[jail.driver].stop(jail)
                        drivers.jails[jail.driver].state(jail)  # waits for what tidies up after it
        unmount_beneath(str(self.directory))
        shutil.rmtree(self.directory)
        self._remove_cgroups()

    def _remove_cgroups(self) -> None:
        """A stopped jail leaves its empty cgroup, in every hierarchy."""
        for driver, jail in itertools.product(("lxc", "oci", "nspawn"), self.ports):
            cgroup = cgroup_of(f"{self.config.state_directory}/{driver}/{jail}")
            for top in ("/sys/fs/cgroup", *map(str, Path("/sys/fs/cgroup").iterdir())):
                found = sorted(Path(top).glob(f"{cgroup}/**/"), reverse=True)
                for path in found:
                    with suppress(OSError):
                        path.rmdir()


def patiently(take: Callable[[], GatedLedger]) -> GatedLedger:
    """Open the ledger; wait for what a killed engine has left running."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return take()
        except LedgerLocked as error:
            if error.holder_alive or time.monotonic() > deadline:
                raise
            time.sleep(0.002)


def toml_lines(table: dict[str, object], name: str = "") -> Iterator[str]:
    """A table as TOML: values first, then the tables in it. JSON's strings, numbers and lists are TOML's as well."""
    if name:
        yield f"[{name}]"
    for key, value in table.items():
        if not isinstance(value, dict):
            yield f"{key} = {json.dumps(value)}"
    for key, value in table.items():
        if isinstance(value, dict):
            yield from toml_lines(value, f"{name}.{key}" if name else key)


OPEN = ("forward", "unwinding", "stuck")


def unmount_beneath(directory: str) -> None:
    """Unmount everything in a directory, the innermost first."""
    host = LocalHost()
    mounts = LinuxMounts(host)
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    for path in sorted({line.split()[4] for line in lines if line.split()[4].startswith(directory)}, reverse=True):
        while mounts.layers(path):
            mounts.unmount(path)


class Killer:
    """A gate that kills its own process at the n-th point, for real; without ``at`` it counts into ``log``."""

    def __init__(self, at: int | None = None, log: Path | None = None) -> None:
        self._at = at
        self._log = log
        self._seen = 0

    def __call__(self, point: str) -> None:
        self._seen += 1
        if self._log is not None:
            with self._log.open("a") as file:
                file.write(json.dumps(point) + "\n")
        if self._seen != self._at:
            return
        if point.startswith("during "):
            threading.Thread(target=_kill_soon, daemon=True).start()
        else:
            os.kill(os.getpid(), signal.SIGKILL)


def _kill_soon() -> None:
    time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGKILL)
