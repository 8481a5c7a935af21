"""rootswap in the guest: its configuration, a small root to build a template from, and a jail that serves a page."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.real.site import make_root, toml_lines
from tests.vm.machine import Done, GuestFailed, Machine
from tests.vm.system import PRIVATE

HOME = "/var/lib/rootswap"
SITE = "/opt/site"
PORT = 8080
POOL_DISK = "/dev/disk/by-id/virtio-pool"
_OPEN = ("forward", "unwinding", "stuck")
_SCRIPTS = {
    "to-two": "echo two > /srv/www/index.html",
    "to-three": "echo three > /srv/www/index.html",
    "to-broken": "rm /srv/www/index.html",
}


@dataclass(frozen=True, slots=True)
class Backend:
    """A storage driver: how its disk is prepared in an empty guest, and what the configuration says of it.

    ``write_through`` is for what cannot stand a disk that reorders what was not flushed: LVM, within one command.
    """

    driver: str
    prepare: tuple[str, ...]
    storage: dict[str, object]
    write_through: bool = False


BTRFS = Backend(
    "btrfs",
    (
        f"mkfs.btrfs -q -f {POOL_DISK}",
        f"mkdir -m 700 {HOME} && mkdir {HOME}/pool",
        f"echo '{POOL_DISK} {HOME}/pool btrfs noatime 0 0' >>/etc/fstab",
        "systemctl daemon-reload",
        f"mount {HOME}/pool",
    ),
    {"driver": "btrfs", "path": f"{HOME}/pool"},
)
ZFS = Backend(
    "zfs",
    (
        "modprobe zfs",
        f"zpool create -f -m none tank {POOL_DISK}",
        f"mkdir -m 700 {HOME}",
    ),
    {"driver": "zfs", "dataset": "tank/rootswap", "path": f"{HOME}/pool"},
)
LVM = Backend(
    "lvm",
    (
        f"pvcreate -q -y {POOL_DISK}",
        f"vgcreate -q vg {POOL_DISK}",
        "lvcreate -q -y --type thin-pool -L 6G -n pool vg",
        f"mkdir -m 700 {HOME}",
    ),
    {"driver": "lvm", "thin_pool": "vg/pool", "path": f"{HOME}/pool", "root_size": "256M", "volume_size": "128M"},
    write_through=True,
)
BACKENDS = {backend.driver: backend for backend in (BTRFS, ZFS, LVM)}


def root_archive(directory: Path) -> Path:
    """The root of the first release, made on this machine: busybox and a page."""
    path = directory / "root.tar"
    make_root(path)
    return path


@dataclass(frozen=True, slots=True)
class Look:
    """See ``tests.vm.inside.look``."""

    digests: dict[str, str]
    last: int
    sound: str
    transactions: dict[str, tuple[str, str]]
    settled: dict[str, Any] | None
    page: str
    mounts: list[tuple[str, str]]
    objects: list[str]
    snapshots: list[tuple[str, list[str], bool]]

    @property
    def release(self) -> str | None:
        """What the ledger says that the jail is on."""
        return self.settled["deployment"]["release"] if self.settled else None

    @property
    def places(self) -> list[str]:
        """Where something is mounted; twice, if twice."""
        return [path for path, _ in self.mounts]

    @property
    def kept(self) -> list[str]:
        """What the pool holds, but for what the switches of the jail have added: snapshots of its data."""
        switches = [name for name, (_, target) in self.transactions.items() if target == "jail:web"]
        return [name for name in self.objects if not any(switch in name for switch in switches)]

    def faults(self) -> list[str]:
        """What cannot be so when nothing is open: strays, half snapshots, another page than the ledger says."""
        found = [f"{name} is {state}" for name, (state, _) in self.transactions.items() if state in _OPEN]
        roots = [source for path, source in self.mounts if path == f"{HOME}/jails/web/root"]
        others = [path for path in self.places if path not in (f"{HOME}/jails/web/root", f"{HOME}/pool")]
        others = [path for path in others if not path.startswith(f"{HOME}/pool/")]
        found += [f"{path} is mounted" for path in others]
        if len(roots) != 1 or str(self.release).partition("@")[2] not in roots[0]:
            found.append(f"the root of web is {roots}, the ledger says {self.release}")
        for name, volumes, unwound in self.snapshots:
            state, _ = self.transactions.get(name, ("unknown", ""))
            if volumes != ["home", "log"]:
                found.append(f"the snapshot of {name} is of {volumes} only")
            if unwound != (state == "rolled-back") or state == "unknown":
                found.append(f"the snapshot of {name} is {'' if unwound else 'not '}set aside, the transaction {state}")
        return found


class Site:
    """The rootswap of a running guest."""

    def __init__(self, machine: Machine, backend: Backend) -> None:
        self.machine = machine
        self.backend = backend

    def settle(self) -> None:
        """From an empty disk to a jail on the first of two releases, all with the command line."""
        self.furnish()
        self.rootswap("init")
        self.rootswap("template", "build", "tiny")
        self.rootswap("upgrade", "web", "--reason", "first deployment")
        self.rootswap("template", "upgrade", "tiny")

    def furnish(self) -> None:
        """The administrator's part: the disk, the configuration, the files that it names."""
        for line in self.backend.prepare:
            self.machine.run("sh", "-ec", line)
        self.machine.run("mkdir", "-p", SITE, "/etc/rootswap")
        self.machine.run("cp", "/opt/rootswap/src/root.tar", f"{SITE}/root.tar")
        for name, text in _SCRIPTS.items():
            self.write(f"{SITE}/{name}", f"#!/bin/sh\n{text}\n", 0o755)
        self.configure()

    def configure(self, patience_s: int = 120) -> None:
        """Write the configuration; the jail has so long to become healthy, which a busy machine may need."""
        self.write("/etc/rootswap/rootswap.toml", "\n".join(toml_lines(self.config(patience_s))) + "\n", 0o600)

    def config(self, patience_s: int) -> dict[str, object]:
        """The configuration, as its TOML says it."""
        return {
            "storage": {**self.backend.storage, "keep_free": "64M"},
            "template": {
                "tiny": {
                    "bootstrap": "tar",
                    "file": f"{SITE}/root.tar",
                    "upgrade": "script",
                    "upgrade_script": f"{SITE}/to-two",
                }
            },
            "jail": {
                "web": {
                    "template": "tiny",
                    "command": ["/bin/sh", "/srv/run"],
                    "environment": {"PORT": str(PORT)},
                    "volumes": {"log": "/var/log", "home": "/home"},
                    "health": {"page": {"http": f"http://127.0.0.1:{PORT}/", "timeout_s": patience_s}},
                    "stop_timeout_s": 120,
                    "start_timeout_s": 120,
                }
            },
        }

    def write(self, path: str, content: str, mode: int) -> None:
        """Write a file in the guest."""
        script = 'umask 077; cat >"$1" && chmod "$2" "$1"'
        self.machine.run("sh", "-c", script, "sh", path, f"{mode:o}", stdin=content)

    def rootswap(self, *words: str, expect: int = 0) -> Done:
        """Run the command line. Raises GuestFailed when it ends with another status."""
        done = self.machine.run("rootswap", *words, check=False, timeout_s=1800)
        if done.status != expect:
            raise GuestFailed(
                f"rootswap {' '.join(words)} ended with {done.status} instead of {expect}\n{done.stdout}{done.stderr}"
            )
        return done

    def asked(self, *words: str) -> object:
        """The data that a reading verb prints."""
        return json.loads(self.rootswap(*words, "-o", "json").stdout)["data"]

    def look(self, after: int = 0) -> "Look":
        """The whole guest as an outsider sees it; with the digests of the records after ``after``."""
        python = f"/{PRIVATE}/bin/python"
        done = self.machine.run(python, "-m", "tests.vm.inside.look", str(after), cwd=f"/{PRIVATE}/src", timeout_s=1800)
        return Look(**json.loads(done.stdout))

    def install_boot_unit(self) -> None:
        """Have what is open settled at each boot."""
        self.rootswap("boot", "install")

    def page(self) -> str:
        """What the jail serves."""
        return self.machine.run("busybox", "wget", "-q", "-O", "-", f"http://127.0.0.1:{PORT}/").stdout.strip()
