"""A small FreeBSD with a pool, two roots, volumes and a configured jail, for the tests of jails and mounts."""

from dataclasses import dataclass
from typing import Any

from commands.drivers.base import JailSpec, MountedVolume, Source
from commands.drivers.jail import FreeBsdJails
from commands.drivers.mounts_freebsd import FreeBsdMounts
from tests.fakes.host import FakeHost
from tests.fakes.shell import run_line
from tests.fakes.world import FakeFreeBSD
from tests.site import FakeClock

ROOT = "/rs/jails/web/root"
#: What the administrator has written. The jail's program is put into the background, as rc(8) does with daemons.
CONF = """\
# the administrator's own
exec.clean;
mount.devfs;
path = "/rs/jails/$name/root";
host.hostname = "$name";

web {
    exec.start = "/bin/sh -c 'nc -lk 127.0.0.1 8080 > /dev/null 2>&1 &'";
    exec.stop = "/bin/sh -c 'echo stopping'";
    stop.timeout = 3;
}
"""


@dataclass
class JailSite:
    """The world, its door, and drivers on it."""

    world: FakeFreeBSD
    host: FakeHost
    jails: FreeBsdJails
    mounts: FreeBsdMounts

    def spec(self, **changes: Any) -> JailSpec:
        """The jail ``web`` with two volumes, one of them inside of the other's parent directory."""
        volumes = (
            MountedVolume(name="home", source="/rs/volumes/web/home", path="/home"),
            MountedVolume(name="log", source="/rs/volumes/web/log", path="/var/log"),
        )
        values = {"driver": "jail", "name": "web", "root": ROOT, "command": ("/bin/sh", "/etc/rc"), "volumes": volumes}
        return JailSpec.model_validate({**values, **changes})

    def sh(self, line: str) -> str:
        """A command line that somebody types; its output."""
        completed = run_line(self.world, line)
        return completed.stdout + completed.stderr

    def configure(self, text: str, path: str = "/etc/jail.conf") -> None:
        """Write the jail configuration, as the administrator does."""
        self.world.write(path, text.encode())

    def mounted(self) -> list[str]:
        """Every path below the root that something is mounted at, and the root itself."""
        return [mount.path for mount in self.world.state.mounts if f"{mount.path}/".startswith(f"{ROOT}/")]


def jail_site() -> JailSite:
    """The site, with the first root mounted at its place."""
    world = FakeFreeBSD()
    host = FakeHost(world)
    site = JailSite(world, host, FreeBsdJails(host, "/var/db/rootswap/jail", FakeClock()), FreeBsdMounts(host))
    for line in (
        "zpool create -O mountpoint=none tank vtbd1",
        "zfs create -o mountpoint=/rs/templates/web tank/web",
        "mkdir -p /rs/templates/web/dev /rs/templates/web/home /rs/templates/web/var/log /rs/templates/web/etc",
        "touch /rs/templates/web/etc/rc",
        "zfs snapshot tank/web@one",
        "zfs snapshot tank/web@two",
        f"mkdir -p /rs/volumes/web/home /rs/volumes/web/log {ROOT}",
        f"mount -t zfs -o ro tank/web@one {ROOT}",
    ):
        assert site.sh(line) == "", line
    site.configure(CONF)
    return site


ONE, TWO = Source("zfs", "tank/web@one"), Source("zfs", "tank/web@two")
