"""A whole rootswap on the FreeBSD in memory: ZFS, jails and nullfs mounts by the real drivers, around a real ledger."""

import shutil
from collections.abc import Callable
from pathlib import Path

from commands.config import Config
from commands.drivers.base import Drivers, Recipe
from commands.drivers.health import HostHealth
from commands.drivers.jail import FreeBsdJails
from commands.drivers.mounts_freebsd import FreeBsdMounts
from commands.drivers.roots import inspect_root
from commands.drivers.zfs import ZfsStorage
from commands.transactions.pool import pool_spec
from tests.fakes.host import FakeHost
from tests.fakes.jail_model import alive
from tests.fakes.tools import run
from tests.fakes.world import FakeFreeBSD
from tests.site import FakeClock, Site

STATE = "/var/db/rootswap"
POOL = "/var/db/pool"
HOME = "tank/rootswap"
CONF = """\
exec.clean;
mount.devfs;
path = "/var/db/rootswap/jails/$name/root";
host.hostname = "$name";
exec.start = "/bin/sh -c 'nc -lk 127.0.0.1 8080 > /dev/null 2>&1 &'";
exec.stop = "/bin/sh -c 'echo stopping'";
stop.timeout = 3;
web { }
mail { }
"""
CONFIG = Config.model_validate(
    {
        "state_directory": STATE,
        "storage": {"driver": "zfs", "path": POOL, "dataset": HOME, "keep_free": "16M"},
        "template": {"debian": {"bootstrap": "debian", "suite": "bookworm"}},
        "jail": {
            name: {
                "template": "debian",
                "driver": "jail",
                "command": ["/usr/sbin/nginx"],
                "volumes": {"log": "/var/log/nginx", "home": "/home"},
                "health": {"page": {"http": f"http://127.0.0.1/{name}", "timeout_s": 0.02}},
            }
            for name in ("web", "mail")
        },
    }
)


class TreeBuilder:
    """Follows no recipe: makes a small root, with a gate in the middle."""

    def __init__(self, world: FakeFreeBSD) -> None:
        self._world = world

    def preflight(self, recipe: Recipe) -> None:
        """See Builder."""

    def build(self, recipe: Recipe, root: str, cancelled: Callable[[], bool]) -> None:
        """See Builder."""
        self._world.gate(f"before building {root}")
        for path in ("proc", "sys", "dev", "run", "tmp", "etc", "home", "usr/sbin", "var/log/nginx"):
            self._world.make_directory(f"{root}/{path}")
        self._world.gate(f"half way through building {root}")
        self._world.write(f"{root}/usr/sbin/nginx", b"#!/bin/sh\n", 0o755)
        self._world.write(f"{root}/home/hello", b"hello")
        self._world.gate(f"after building {root}")

    def clear(self, root: str) -> None:
        """See Builder."""

    def packages(self, root: str) -> dict[str, str]:
        """See Builder."""
        return {}


class Ground:
    """What a Site stands on, here: the world, its door and the real drivers on it."""

    def __init__(self) -> None:
        self.fake = FakeFreeBSD()
        self.clock = FakeClock()
        self.unhealthy: set[str] = set()
        self.host = FakeHost(self.fake)
        self.host.answers = self._answer
        self.fake.make_directory("/var/db")
        self.fake.write("/etc/jail.conf", CONF.encode())
        assert run(self.fake, ["zpool", "create", "-O", "mountpoint=none", "tank", "vtbd1"]).status == 0

    @property
    def gate(self) -> Callable[[str], None]:
        """The gate of the world."""
        return self.fake.gate

    @gate.setter
    def gate(self, gate: Callable[[str], None]) -> None:
        self.fake.gate = gate

    def drivers(self) -> Drivers:
        """The real drivers on this world, as bootstrap puts them together."""
        mounts = FreeBsdMounts(self.host)
        jails = {"jail": FreeBsdJails(self.host, f"{STATE}/jail", self.clock)}
        return Drivers(
            storage=ZfsStorage(self.host, mounts, pool_spec(CONFIG)),
            mounts=mounts,
            jails=jails,
            health=HostHealth(self.host, jails),
            builder=TreeBuilder(self.fake),
            clock=self.clock,
            cancelled=lambda: False,
            inspect_root=lambda root, jail: inspect_root(self.host, root, jail, "FreeBSD"),
        )

    def reboot(self) -> None:
        """Lose what a reboot loses."""
        self.fake.reboot()

    def _answer(self, world: FakeFreeBSD, url: str) -> int:
        """200 from a jail that lives on a release that is well."""
        jail = alive(world, url.rpartition("/")[2])
        under = world.under(jail.path) if jail is not None else None
        special = under.special.rpartition("/")[2].replace(":", "@") if under is not None else ""
        return 503 if not special or special in self.unhealthy else 200


class FreeBsdSite(Site):
    """A host with ZFS and jails; its ledger is in ``directory``."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, CONFIG)
        self.ground = Ground()
        self.world = self.ground  # type: ignore[assignment]

    def host(self) -> dict[str, str]:
        """The host, without what is kept on every way out: data snapshots, logs, and directories to mount on."""
        return {
            key: told
            for key, told in self.ground.fake.picture().items()
            if not key.startswith(("file ", f"content {HOME}\0"))
            and not (key.startswith((f"snapshot {HOME}/volumes/", f"content {HOME}/volumes/")) and "@" in key)
            and key != f"content {HOME}"
        }

    def photograph(self, directory: Path) -> bytes:
        """The host as it is now, and its ledger copied to ``directory``: what a kill at this moment leaves."""
        shutil.copytree(self.directory, directory)
        return self.ground.fake.save()
