"""A real sshd in a network namespace of its own: another host as far as the network goes, with our own files."""

import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from commands.drivers.ssh import SshHost
from commands.drivers.ssh_link import Address
from tests.contracts.real import sh

PORT = 22
_numbers = itertools.count()


class SshServer:
    """One namespace with one sshd; ``address`` is how to get there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = f"rs{os.getpid()}x{next(_numbers)}"
        net = f"10.213.{os.getpid() % 250}.{4 * (next(_numbers) % 60)}".rpartition(".")
        self.here, self.there = (f"{net[0]}.{int(net[2]) + host}" for host in (1, 2))
        self._sshd: subprocess.Popen[bytes] | None = None
        self._machine: subprocess.Popen[bytes] | None = None

    def set_up(self) -> None:
        """Make the namespace, the keys and both configurations, and start sshd."""
        sh("ip", "netns", "add", self.name)
        link, peer = f"{self.name[-9:]}a", f"{self.name[-9:]}b"
        sh("ip", "link", "add", link, "type", "veth", "peer", "name", peer, "netns", self.name)
        sh("ip", "address", "add", f"{self.here}/30", "dev", link)
        sh("ip", "link", "set", link, "up")
        sh("ip", "-n", self.name, "address", "add", f"{self.there}/30", "dev", peer)
        for device in (peer, "lo"):
            sh("ip", "-n", self.name, "link", "set", device, "up")
        for key in ("host", "user"):
            sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.directory / key))
        shutil.copy(self.directory / "user.pub", self.directory / "authorized")
        public = " ".join((self.directory / "host.pub").read_text().split()[:2])
        (self.directory / "known").write_text(f"box {public}\n")
        (self.directory / "sshd_config").write_text(
            f"ListenAddress {self.there}:{PORT}\nHostKey {self.directory}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.directory}/authorized\nStrictModes no\nPermitRootLogin yes\nMaxSessions 50\n"
            "SetEnv SHLVL=1\n"  # So that bash does not read what root of this machine likes to have at a login.
        )
        (self.directory / "config").write_text(
            f"Host box\nHostName {self.there}\nHostKeyAlias box\nUser root\nIdentityFile {self.directory}/user\n"
            f"IdentitiesOnly yes\nUserKnownHostsFile {self.directory}/known\nGlobalKnownHostsFile none\n"
        )
        # Its network and its mount table are there for as long as something is in them, whatever becomes of sshd.
        # (Not by `ip netns exec`, which mounts another /sys, without the cgroups.)
        enter = ["nsenter", f"--net=/run/netns/{self.name}", "unshare", "--mount"]
        stays = [*enter, "sh", "-c", "echo; exec sleep infinity"]
        self._machine = subprocess.Popen(stays, stdout=subprocess.PIPE)
        assert self._machine.stdout is not None
        self._machine.stdout.readline()
        self.start()

    def inside(self, *argv: str) -> list[str]:
        """The words that run a command on that machine."""
        assert self._machine is not None
        return ["nsenter", "--net", "--mount", f"--target={self._machine.pid}", *argv]

    def start(self) -> None:
        """Start sshd and wait until it listens."""
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        inside = self.inside("/usr/sbin/sshd", "-D", "-e", "-f", f"{self.directory}/sshd_config")
        with open(self.directory / "log", "ab") as log:
            self._sshd = subprocess.Popen(inside, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 10
        while f"{self.there}:{PORT}" not in sh("ip", "netns", "exec", self.name, "ss", "-Hltn"):
            assert time.monotonic() < deadline, (self.directory / "log").read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop listening; sessions go on."""
        if self._sshd is not None:
            self._sshd.kill()
            self._sshd.wait()

    def cut(self) -> int:
        """Cut every connection at its other end, whatever runs in it; how many there were."""
        count = 0
        for pid in sh("ip", "netns", "pids", self.name).split():
            with suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sshd: root"):
                    os.kill(int(pid), signal.SIGKILL)
                    count += 1
        return count

    def tear_down(self) -> None:
        """Leave nothing behind."""
        self.stop()
        listed = subprocess.run(["ip", "netns", "pids", self.name], check=False, capture_output=True, text=True)
        for pid in listed.stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        if self._machine is not None:
            self._machine.communicate()
        subprocess.run(["ip", "netns", "delete", self.name], check=False)

    def address(self, engine: str = "ours") -> Address:
        """How an engine gets there."""
        return Address("box", str(self.directory / engine), str(self.directory / "config"))

    @contextmanager
    def host(self, engine: str = "ours", patience_s: float = 20.0) -> Iterator[SshHost]:
        """The host, as an engine has it."""
        host = SshHost(self.address(engine), patience_s=patience_s)
        try:
            yield host
        finally:
            host.close()


@contextmanager
def ssh_server(directory: Path) -> Iterator[SshServer]:
    """A running server; skips the test where there can be none."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if os.geteuid() != 0 or not all(shutil.which(tool, path=path) for tool in ("sshd", "ip", "ss")):
        pytest.skip("needs root, sshd and iproute2")
    server = SshServer(directory)
    try:
        server.set_up()
        yield server
    finally:
        server.tear_down()
