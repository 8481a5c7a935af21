"""The whole command line on ZFS and FreeBSD jails in memory: the story of an upgrade, and what the verbs show of it."""

from pathlib import Path

import pytest

from commands.cli import live
from commands.config import load
from ledger.errors import RootswapError
from tests.cli.bench import Bench, make_bench
from tests.fakes.shell import run_line
from tests.fakes.site import Ground

CONFIG = """\
state_directory = "{state}"

[storage]
driver = "zfs"
dataset = "tank/rootswap"
path = "{pool}"
keep_free = "16M"

[template.debian]
bootstrap = "debian"
suite = "bookworm"

[jail.web]
template = "debian"
driver = "jail"
command = ["/usr/sbin/nginx"]
volumes = {{ log = "/var/log/nginx" }}
quotas = {{ log = "64M" }}
health.page.http = "http://127.0.0.1/web"
health.page.timeout_s = 0.02
"""


@pytest.fixture
def zfs(fast_directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The command line on ZFS."""
    bench = make_bench(fast_directory, capsys, monkeypatch)
    bench.configure(CONFIG.format(state=fast_directory / "state", pool=fast_directory / "pool"))
    ground = Ground(load(str(bench.config)).config)
    bench.world = ground  # type: ignore[assignment]
    monkeypatch.setattr(live, "drivers_if_root", lambda _config: ground.drivers())
    return bench


def ground_of(bench: Bench) -> Ground:
    """The ground under a bench."""
    ground: object = bench.world
    assert isinstance(ground, Ground)
    return ground


def test_a_jail_is_deployed_upgraded_broken_and_rolled_back(zfs: Bench) -> None:
    zfs.settle()
    fake = ground_of(zfs).fake
    assert run_line(fake, "zfs get -Hp -o value refquota tank/rootswap/volumes/web:log").stdout == "67108864\n"
    assert zfs.run("upgrade", "web").code == 0
    (web,) = zfs.run("jail", "list", "--json").data
    assert (web["release"].partition("@")[0], web["running"]) == ("debian", True)
    volume, kept = zfs.run("volume", "list", "web", "--json").data
    assert (volume["written_bytes"], kept["state"], kept["written_bytes"]) == (None, "kept", 0)
    assert "WRITTEN SINCE" in zfs.run("volume", "list", "web").out.splitlines()[0]
    assert zfs.run("template", "upgrade", "debian").code == 0
    newest = zfs.run("template", "list", "--json").data[0]["release"]
    ground_of(zfs).unhealthy.add(newest)
    failed = zfs.run("upgrade", "web")
    assert (failed.code, "was rolled back" in failed.err + failed.out) == (1, True)
    assert zfs.run("jail", "list", "--json").data == [web]
    assert zfs.run("rollback", "web").code == 0
    assert zfs.run("status", "--json").code == 0


def test_a_pool_that_is_not_imported_is_one_sentence_for_every_verb(zfs: Bench) -> None:
    zfs.settle()
    fake = ground_of(zfs).fake
    fake.reboot()
    assert run_line(fake, "zpool export tank").status == 0
    for words in (("upgrade", "web"), ("template", "upgrade", "debian"), ("recover",), ("volume", "list")):
        printed = zfs.run(*words)
        assert printed.code == 1, words
        assert "rootswap: cannot use the pool tank: it is not imported" in printed.err, words
        assert "import it with `zpool import tank`" in printed.err, words
    told = zfs.run("status")
    assert "it is not imported" in told.out + told.err


def test_the_drivers_of_a_configuration_with_zfs_are_those_of_zfs(zfs: Bench) -> None:
    drivers = ground_of(zfs).drivers()
    assert type(drivers.storage).__name__ == "ZfsStorage"
    with pytest.raises(RootswapError, match="there is no data set tank/rootswap/templates"):
        drivers.storage.templates()
