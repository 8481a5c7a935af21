"""The connection to another host: one ssh master that all commands share, and what became of each command.

A command that is sent has one of three ends: it has told its status; it never went out; or the connection was lost
after it went out, and what it did is unknown until a probe has looked. The three are kept apart here. The status comes
as a line of its own on both outputs, with a number that nobody can guess, since the status of ssh(1) itself, 255, may
be the command's as well.
"""

import hashlib
import re
import secrets
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from commands.drivers.base import Completed
from commands.drivers.host import ENVIRONMENT, LocalHost, complaint, install_remedy, shown
from commands.errors import DriverError, HostUnreachable, Interrupted, ToolMissing, ToolTimedOut

#: Never asks anybody anything; a host that has fallen silent is given up after fifteen seconds.
_OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=10",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "ControlPersist=600",
)
#: Runs the words after it; its name, $0, marks the process and, with the status, the end of both outputs.
_TELL_STATUS = '"$@"; s=$?; printf "\\n%s %s %s.\\n" "$0" "$s" "$0"; printf "\\n%s %s %s.\\n" "$0" "$s" "$0" >&2'
#: Every process with its group, on FreeBSD as on Linux.
_PROCESSES = ("ps", "-axww", "-o", "pid=", "-o", "pgid=", "-o", "command=")
#: Over the connection that stands or not at all: ssh would make one of its own for this command.
_NO_OTHER_WAY = ("-o", "ProxyCommand=false")
#: What ssh says, in its last line, when there was no connection to send the command over.
_NEVER_SENT = "UNKNOWN port 65535"
#: No use in trying again: somebody has to do something first.
_FINAL = ("Host key verification failed", "Permission denied", "Bad configuration option", "Could not resolve hostname")
_CONNECT_TIMEOUT_S = 20.0
_POLL_S = 0.2
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Address:
    """Where the other host is: a destination as ssh(1) takes it, and the configuration file for it, if not the user's.

    ``directory`` is ours alone; the control socket and what is on its way are in it.
    """

    destination: str
    directory: str
    ssh_config: str | None = None


class Link:
    """Runs commands on another host. One instance belongs to one engine; it connects when it is first used.

    A connection that cannot be made is tried for ``patience_s``. What an engine before has left running there is waited
    for as long, then ended, so that it cannot race with what this one does.
    """

    def __init__(self, local: LocalHost, address: Address, *, patience_s: float = 60.0) -> None:
        self._local = local
        self._address = address
        self._patience_s = patience_s
        #: Marks our commands among the processes there: the same for each engine of this state directory.
        self._tag = "rootswap:" + re.sub(r"[^A-Za-z0-9]", ".", address.directory)
        self._is_settled = False
        self._is_connected = False
        #: How many times a connection was made: what was led over an earlier one leads nowhere.
        self.generation = 0

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        environment: Mapping[str, str] | None = None,
        cancelled: Callable[[], bool] | None = None,
        stdin: str | None = None,
    ) -> Completed:
        """Run a command there with our environment and nothing else. Raises as ``Host.run``, and HostUnreachable."""
        self.connect()
        if not self._is_settled:
            self._settle()
        return self._send(argv, timeout_s, environment, cancelled, stdin)

    def connect(self) -> None:
        """Make the connection unless it stands, as far as we know. Raises HostUnreachable."""
        if self._is_connected:
            return
        self.generation += 1
        if self._control("check").status == 0:
            self._is_connected = True
            return
        self._local.make_directory(self._address.directory, 0o700)
        deadline = time.monotonic() + self._patience_s
        while True:
            argv = [*self._ssh(), "-o", "ControlMaster=yes", "-N", "-f", "--", self._address.destination]
            try:
                completed = self._local.run(argv, check=False, timeout_s=_CONNECT_TIMEOUT_S, holds_lock=False)
                cause = complaint(completed)
            except ToolTimedOut:
                completed, cause = None, "no answer"
            if completed is not None and completed.status == 0:
                self._is_connected = True
                self._forget_sockets()
                return
            if any(words in cause for words in _FINAL) or time.monotonic() >= deadline:
                remedy = f"try `ssh {self._address.destination} true` as root; then `rootswap recover`"
                raise HostUnreachable(f"cannot reach {self._address.destination}: {cause}", remedy=remedy)
            time.sleep(_POLL_S)

    def forward(self, socket: str, address: str, port: int) -> None:
        """Let the local socket lead to an address as the other host sees it."""
        self._is_connected = self._is_connected and self._control("check").status == 0
        self.connect()
        completed = self._control("forward", "-L", f"{socket}:{address}:{port}")
        if completed.status != 0:
            where = f"{address} port {port} of {self._address.destination}"
            raise DriverError(f"cannot lead a connection to {where}: {complaint(completed)}")

    def socket_to(self, address: str, port: int) -> str:
        """Where the local socket is that leads there: one place for each, which an engine to come may find in use."""
        return f"{self._address.directory}/to.{hashlib.sha256(f'{address} {port}'.encode()).hexdigest()[:12]}"

    def _forget_sockets(self) -> None:
        """A new connection leads nowhere yet; ssh(1) makes no socket where there is one."""
        for name in self._local.entries(self._address.directory):
            if name.startswith("to."):
                self._local.remove(f"{self._address.directory}/{name}")

    def close(self) -> None:
        """End the connection; none is success."""
        self._control("exit")
        self._is_connected = False

    def _send(
        self,
        argv: Sequence[str],
        timeout_s: float,
        environment: Mapping[str, str] | None,
        cancelled: Callable[[], bool] | None,
        stdin: str | None,
    ) -> Completed:
        marker = f"{self._tag}:{secrets.token_hex(8)}"
        variables = [f"{name}={value}" for name, value in {**ENVIRONMENT, **(environment or {})}.items()]
        words = ["/bin/sh", "-c", _TELL_STATUS, marker, "env", "-i", *variables, *argv]
        command = [*self._ssh(), *_NO_OTHER_WAY, "--", self._address.destination, shlex.join(words)]
        for _ in range(_TRIES):
            try:
                sent = self._local.run(
                    command,
                    timeout_s=timeout_s,
                    check=False,
                    cancelled=cancelled,
                    holds_lock=False,
                    stdin=stdin,
                    until=f" {marker}.\n".encode(),
                )
            except (Interrupted, ToolTimedOut):
                self._is_settled = False
                self._end(self._leftovers(marker))
                raise
            if marker in sent.stdout or not sent.stderr.rstrip().endswith(_NEVER_SENT):
                return self._completed(argv, marker, sent)
            self._is_connected = False
            self.connect()
        raise HostUnreachable(f"cannot reach {self._address.destination}: the connection is lost again and again")

    def _completed(self, argv: Sequence[str], marker: str, sent: Completed) -> Completed:
        stdout, told, rest = sent.stdout.partition(f"\n{marker} ")
        stderr, told_too, _ = sent.stderr.partition(f"\n{marker} ")
        status = re.match(r"\d+", rest)
        if not (told and told_too and status):
            self._is_settled = self._is_connected = False
            raise ToolTimedOut(
                f"cannot run {shown(argv)} on {self._address.destination}: the connection was lost",
                remedy="what it did so far is unknown",
            )
        completed = Completed(int(status[0]), stdout, stderr)
        if completed.status == 127 and stderr.startswith("env: "):  # what env(1) says, and no tool
            tool = argv[0]
            raise ToolMissing(
                f"cannot run {shown(argv)} on {self._address.destination}: {tool} is not installed",
                remedy=install_remedy(tool),
            )
        return completed

    def _settle(self) -> None:
        """Wait for what is left of an engine before, or of a lost connection; end it when patience is over."""
        deadline = time.monotonic() + self._patience_s
        while groups := self._leftovers(self._tag):
            if time.monotonic() >= deadline:
                self._end(groups)
                break
            time.sleep(_POLL_S)
        self._is_settled = True

    def _leftovers(self, mark: str) -> set[int]:
        """The process groups of commands that bear ``mark`` and still run there."""
        self.connect()
        listed = self._send(_PROCESSES, _CONNECT_TIMEOUT_S, None, None, None)
        return groups_with(mark, listed.stdout)

    def _end(self, groups: set[int]) -> None:
        """Kill process groups there and see them gone. sshd(8) gives each command a session, so a group, of its own."""
        deadline = time.monotonic() + _CONNECT_TIMEOUT_S
        while groups:
            kill = ["/bin/kill", "-KILL", "--", *(f"-{group}" for group in sorted(groups))]
            self._send(kill, _CONNECT_TIMEOUT_S, None, None, None)
            left = groups_with(self._tag, self._send(_PROCESSES, _CONNECT_TIMEOUT_S, None, None, None).stdout)
            groups &= left
            if groups and time.monotonic() >= deadline:
                raise DriverError(
                    f"cannot end what still runs on {self._address.destination}: process group {min(groups)}",
                    remedy="it hangs in the kernel; see ps and the kernel log there",
                )

    def _control(self, request: str, *more: str) -> Completed:
        argv = [*self._ssh(), "-O", request, *more, "--", self._address.destination]
        return self._local.run(argv, check=False, timeout_s=_CONNECT_TIMEOUT_S, holds_lock=False)

    def _ssh(self) -> list[str]:
        config = [] if self._address.ssh_config is None else ["-F", self._address.ssh_config]
        options = [word for option in _OPTIONS for word in ("-o", option)]
        return ["ssh", *config, "-T", "-S", f"{self._address.directory}/control", *options]


def groups_with(mark: str, listing: str) -> set[int]:
    """The process groups in a listing of ``ps`` whose command bears ``mark``, but for that of the listing itself."""
    found: dict[int, list[str]] = {}
    for line in listing.splitlines():
        fields = re.match(r"\s*(\d+)\s+(\d+)\s+(.*)", line)
        if fields and mark in fields[3]:
            found.setdefault(int(fields[2]), []).append(fields[3])
    return {group for group, commands in found.items() if not any(" ps -axww " in f" {words}" for words in commands)}
