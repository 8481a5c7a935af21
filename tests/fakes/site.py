"""A whole rootswap on the FreeBSD in memory: ZFS, jails and nullfs mounts by the real drivers, around a real ledger."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from commands.bootstrap import make_drivers
from commands.config import Config
from commands.drivers.base import Drivers, PoolSpec, Recipe
from commands.transactions.interrupt import Interrupt
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
path = "{state}/jails/$name/root";
host.hostname = "$name";
exec.start = "/bin/sh -c 'nc -lk 127.0.0.1 8080 > /dev/null 2>&1 &'";
exec.stop = "/bin/sh -c 'echo stopping'";
stop.timeout = 3;
web {{ }}
mail {{ }}
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

    def preflight(self, recipe: Recipe, base: str | None = None) -> None:
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
    """What a Site stands on, here: the world, its door and the drivers that bootstrap chooses for it."""

    def __init__(self, config: Config = CONFIG) -> None:
        self.config = config
        self.fake = FakeFreeBSD()
        self.clock = FakeClock()
        self.cancelled: Callable[[], bool] = lambda: False
        self.unhealthy: set[str] = set()
        self.host = FakeHost(self.fake)
        self.host.answers = self._answer
        self.fake.make_directory(config.state_directory)
        self.fake.write("/etc/jail.conf", CONF.format(state=config.state_directory).encode())
        assert run(self.fake, ["zpool", "create", "-O", "mountpoint=none", "tank", "vtbd1"]).status == 0

    @property
    def gate(self) -> Callable[[str], None]:
        """The gate of the world."""
        return self.fake.gate

    @gate.setter
    def gate(self, gate: Callable[[str], None]) -> None:
        self.fake.gate = gate

    def drivers(self) -> Drivers:
        """The real drivers on this world; only the builder is one that makes a small tree."""
        chosen = make_drivers(self.config, self.host, self.clock, Interrupt())
        return replace(chosen, builder=TreeBuilder(self.fake), cancelled=lambda: self.cancelled())

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

    def pool(self) -> PoolSpec:
        """The pool as configured."""
        return pool_spec(self.config)

    def host(self) -> dict[str, str]:
        """The host, without what is kept on every way out: data snapshots, logs, and directories to mount on."""
        return {
            key: told
            for key, told in self.ground.fake.picture().items()
            if not key.startswith("file ")
            and not (key.startswith((f"snapshot {HOME}/volumes/", f"content {HOME}/volumes/")) and "@" in key)
            and key != f"content {HOME}"
        }

    def photograph(self, directory: Path) -> bytes:
        """The host as it is now, and its ledger copied to ``directory``: what a kill at this moment leaves."""
        shutil.copytree(self.directory, directory)
        return self.ground.fake.save()
