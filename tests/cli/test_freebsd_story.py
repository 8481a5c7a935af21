"""From a fresh FreeBSD to an upgraded jail, by the command line: docs/freebsd.md, on a FreeBSD in memory.

Drivers are chosen by what the host says it is, though Python runs on another system.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from commands.cli import main
from tests.fakes.command_line import SplitHost
from tests.fakes.shell import run_line
from tests.fakes.world import FakeFreeBSD

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the configuration has to belong to root")

CONFIG = """\
state_directory = "{state}"

[storage]
driver = "zfs"
path = "{state}/pool"
dataset = "tank/rootswap"
keep_free = "16M"

[template.base]
bootstrap = "tar"
file = "/var/tmp/base.txz"
upgrade = "script"
upgrade_script = "/usr/local/etc/rootswap/upgrade.sh"

[jail.web]
template = "base"
driver = "jail"
command = ["/bin/sh", "/etc/rc"]
volumes = {{ log = "/var/log", www = "/usr/local/www" }}
health.page.http = "http://192.0.2.10/"
"""
JAIL_CONF = """\
web {{
    path = "{state}/jails/web/root";
    host.hostname = "web.example.org";
    ip4.addr = "em0|192.0.2.10/32";
    mount.devfs;
    mount += "tmpfs {state}/jails/web/root/tmp tmpfs rw,mode=1777 0 0";
    mount += "tmpfs {state}/jails/web/root/var/run tmpfs rw 0 0";
    exec.clean;
    exec.start = "/bin/sh /etc/rc";
    exec.stop = "/bin/sh /etc/rc.shutdown jail";
    stop.timeout = 10;
}}
"""
BASE = "dev/ tmp/ etc/rc etc/rc.shutdown bin/sh bin/freebsd-version var/log/messages var/run/ usr/local/www/index.html"


@dataclass
class Machine:
    """A fresh FreeBSD with a zpool, base.txz, jail.conf and a rootswap configuration."""

    world: FakeFreeBSD
    host: SplitHost
    config: Path
    state: str
    capsys: pytest.CaptureFixture[str]

    def rootswap(self, *words: str) -> Any:
        """Run a command line that has to succeed; what its envelope holds."""
        self.capsys.readouterr()
        code = main(["--config", str(self.config), *words, "--json"])
        printed = self.capsys.readouterr()
        assert code == 0, printed.out + printed.err
        return json.loads(printed.out)["data"]

    def fails(self, *words: str) -> tuple[int, str]:
        """Run a command line that has to fail; exit code and message."""
        self.capsys.readouterr()
        code = main(["--config", str(self.config), *words, "--json"])
        return code, json.loads(self.capsys.readouterr().out)["error"]["message"]

    def sh(self, line: str) -> str:
        completed = run_line(self.world, line)
        return completed.stdout + completed.stderr


@pytest.fixture
def machine(fast_directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Machine:
    state = str(fast_directory / "state")
    world = FakeFreeBSD()
    host = SplitHost(world, [f"{state}/{name}" for name in ("ledger", "keys", "sinks")])
    monkeypatch.setattr("commands.drivers.host.LocalHost", lambda lock_fd=None: host)
    config = fast_directory / "rootswap.toml"
    config.write_text(CONFIG.format(state=state))
    config.chmod(0o644)
    made = Machine(world, host, config, state, capsys)
    made.sh("zpool create -O mountpoint=none tank vtbd1; mkdir -p /var/tmp /usr/local/etc/rootswap")
    world.write("/var/tmp/base.txz", BASE.encode())
    world.write("/usr/local/etc/rootswap/upgrade.sh", b"pkg upgrade -y\n", 0o755)
    world.write("/etc/jail.conf", JAIL_CONF.format(state=state).encode())
    return made


def test_from_a_fresh_freebsd_to_an_upgraded_jail_and_back(machine: Machine) -> None:
    machine.rootswap("init")
    assert machine.rootswap("template", "build", "base")["transactions"][0]["state"] == "committed"
    (first,) = machine.rootswap("release", "list")
    assert machine.rootswap("upgrade", "web", "-n")["plans"][0]["kind"] == "deploy"
    machine.rootswap("upgrade", "web", "--reason", "first deployment")
    assert machine.sh("jls -j web -n name path") == f"name=web path={machine.state}/jails/web/root\n"
    assert machine.sh(f"mount -p | grep {machine.state}/jails/web/root/var/log").count("nullfs") == 1
    machine.rootswap("template", "upgrade", "base")
    done = machine.rootswap("upgrade", "web", "--ticket", "CHG-7")["transactions"][0]
    assert (done["kind"], done["state"]) == ("upgrade", "committed")
    (jail,) = machine.rootswap("jail", "list")
    assert (jail["jail"], jail["release"] != first["release"]) == ("web", True)
    machine.rootswap("rollback", "web")
    (jail,) = machine.rootswap("jail", "list")
    assert jail["release"] == first["release"]
    status = machine.rootswap("status")
    assert [one["mismatch"] for one in status["jails"]] == [None]


def test_after_a_reboot_recovery_mounts_the_root_and_starts_the_jail(machine: Machine) -> None:
    for words in (["init"], ["template", "build", "base"], ["upgrade", "web"]):
        machine.rootswap(*words)
    before = machine.sh(f"mount -p | grep {machine.state}")
    machine.world.reboot()
    assert machine.sh("jls -n name") == ""
    restored = machine.rootswap("recover")["restored"]
    assert "jail:web" in {one["target"] for one in restored}
    assert sorted(machine.sh(f"mount -p | grep {machine.state}").splitlines()) == sorted(before.splitlines())
    assert machine.sh("jls -n name") == "name=web\n"


@pytest.mark.parametrize(("is_kept", "end"), [(True, "committed"), (False, "rolled-back")])
def test_a_clock_that_is_set_in_the_middle_of_an_upgrade_is_no_reboot_if_the_boot_id_could_be_kept(
    machine: Machine, is_kept: bool, end: str
) -> None:
    machine.world.state.more["kenv is refused"] = not is_kept
    for words in (["init"], ["template", "build", "base"], ["upgrade", "web"], ["template", "upgrade", "base"]):
        machine.rootswap(*words)

    def die(argv: tuple[str, ...]) -> None:
        if argv[-2:] == ("-r", "web"):
            raise SystemExit  # as if the engine were killed: nothing of it catches that

    machine.host.hooks.append(die)
    with pytest.raises(SystemExit):
        main(["--config", str(machine.config), "upgrade", "web"])
    machine.host.hooks.clear()
    machine.world.state.more["clock was set by"] = 3600
    (settled,) = machine.rootswap("recover")["settled"]
    assert (settled["target"], settled["state"]) == ("jail:web", end)


def test_a_jail_that_jail_conf_does_not_define_is_refused_in_one_sentence(machine: Machine) -> None:
    for words in (["init"], ["template", "build", "base"]):
        machine.rootswap(*words)
    machine.world.write("/etc/jail.conf", b"mail { path = /; persist; }")
    code, message = machine.fails("upgrade", "web")
    assert (code, message) == (1, "cannot run jail web: /etc/jail.conf does not define it (defined: mail)")


@pytest.mark.parametrize("line", ['network.kind = "veth"', 'environment = { A = "b" }', 'stop_signal = "SIGQUIT"'])
def test_what_is_jail_confs_to_say_is_a_mistake_in_our_configuration(machine: Machine, line: str) -> None:
    text = machine.config.read_text().replace('driver = "jail"\n', f'driver = "jail"\n{line}\n')
    machine.config.write_text(text)
    code, message = machine.fails("status")
    assert code == 78
    assert 'with driver = "jail" that is for jail.conf to say' in message


def test_the_boot_script_is_installed_and_taken_away(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/bin/sh"])
    machine.world.make_directory("/bin")
    program = "/usr/bin/dash" if Path("/bin/sh").resolve().name == "dash" else str(Path("/bin/sh").resolve())
    machine.world.make_directory(program.rpartition("/")[0])
    machine.world.write(program, b"", 0o755)
    script = "/usr/local/etc/rc.d/rootswap_recover"
    main(["--config", str(machine.config), "doctor", "--json"])
    checks = {one["check"]: one for one in json.loads(machine.capsys.readouterr().out)["data"]["checks"]}
    assert (checks["boot"]["verdict"], checks["boot"]["remedy"]) == ("warning", "`rootswap boot install`")
    assert machine.rootswap("boot", "install", "-n")["pending"]
    assert machine.world.find(script) is None
    assert machine.rootswap("boot", "install")["changed"]
    node = machine.world.find(script)
    assert node is not None
    assert f"/bin/sh --config {machine.config} recover" in node.blob.content.decode()
    assert not machine.rootswap("boot", "install")["changed"]
    machine.capsys.readouterr()
    main(["--config", str(machine.config), "doctor", "--json"])
    checks = {one["check"]: one for one in json.loads(machine.capsys.readouterr().out)["data"]["checks"]}
    assert (checks["boot"]["verdict"], checks["boot"]["detail"]) == ("ok", script)
    assert machine.rootswap("boot", "remove")["files"] == [script]
    assert machine.world.find(script) is None


def test_a_runtime_of_another_system_is_refused_in_one_sentence(machine: Machine) -> None:
    for words in (["init"], ["template", "build", "base"]):
        machine.rootswap(*words)
    machine.config.write_text(machine.config.read_text().replace('driver = "jail"\n', 'driver = "lxc"\n'))
    code, message = machine.fails("upgrade", "web")
    assert (code, message) == (1, "cannot run jails by lxc: the host runs FreeBSD")
