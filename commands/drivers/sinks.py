"""Where checkpoints go that must not stay on this host alone: a directory, a syslog, a command.

A checkpoint that left the host in time is what keeps even root from rewriting the records under it. ``deliver`` is
idempotent, and returns once the sink has taken the checkpoint as far as its protocol can tell: a file is durable, a
command has exited with 0, TCP and the local socket have accepted the bytes, UDP tells nothing.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from commands.drivers.signing import SigningHost
from commands.errors import DriverError
from ledger.checkpoint import Seal
from ledger.clock import Clock

#: Facility 13 (log audit), severity 5 (notice).
_PRIORITY = 13 * 8 + 5
#: The number that RFC 5612 sets aside for documentation: we have none of our own.
_ELEMENT = "checkpoint@32473"
_SPECIAL = re.compile(r'(["\\\]])')


class SinkHost(SigningHost, Protocol):
    """What of the door to the host the sinks need."""

    def send(self, url: str, payload: bytes, timeout_s: float) -> None:
        """Send bytes to ``udp://HOST:PORT``, ``tcp://HOST:PORT`` or ``unix:/PATH``."""
        ...


class Sink(Protocol):
    """Takes signed checkpoints. ``is_required``: without it, no transaction begins."""

    @property
    def name(self) -> str:
        """What the configuration calls it."""
        ...

    @property
    def is_required(self) -> bool:
        """Whether a failure is a refusal rather than a warning."""
        ...

    def deliver(self, seal: Seal, key: str) -> None:
        """Hand over ``seal``, signed by ``key``. Raises DriverError."""
        ...


@dataclass(frozen=True, slots=True)
class DirectorySink:
    """Files in a directory: another file system, a mounted share. It has to be there already."""

    name: str
    is_required: bool
    host: SinkHost
    directory: str

    def deliver(self, seal: Seal, key: str) -> None:
        """Write SIZE.checkpoint, its signature beside it, and the key."""
        if self.host.stat(self.directory, follow=True) is None:
            raise DriverError(f"cannot write to {self.directory}: there is no such directory", remedy="mount it")
        place = f"{self.directory}/{seal.checkpoint.origin.replace('/', '_')}"
        self.host.make_directory(place)
        base = f"{place}/{seal.checkpoint.size:012d}.checkpoint"
        self.host.write(f"{place}/key.pub", f"{key}\n".encode(), 0o444)
        self.host.write(f"{base}.sig", seal.signature.encode(), 0o444)
        self.host.write(base, seal.checkpoint.text.encode(), 0o444)


@dataclass(frozen=True, slots=True)
class SyslogSink:
    """A syslog after RFC 5424: over UDP (RFC 5426), TCP with octet counting (RFC 6587), or a local socket."""

    name: str
    is_required: bool
    host: SinkHost
    url: str
    hostname: str
    clock: Clock
    timeout_s: float

    def deliver(self, seal: Seal, key: str) -> None:
        """Send one message."""
        message = syslog_message(seal, key, self.hostname, f"{self.clock.now():%Y-%m-%dT%H:%M:%S.%f}Z")
        if self.url.startswith("tcp:"):
            message = b"%d %s" % (len(message), message)
        self.host.send(self.url, message, self.timeout_s)


@dataclass(frozen=True, slots=True)
class CommandSink:
    """A program that gets the checkpoint, an empty line and the signature on its standard input."""

    name: str
    is_required: bool
    host: SinkHost
    argv: Sequence[str]
    directory: str
    timeout_s: float

    def deliver(self, seal: Seal, key: str) -> None:
        """Run it; an exit status other than 0 is a failure."""
        paper = f"{self.directory}/{self.name}.input"
        environment = {"ROOTSWAP_SIZE": str(seal.checkpoint.size), "ROOTSWAP_KEY": key}
        try:
            self.host.write(paper, f"{seal.checkpoint.text}\n{seal.signature}".encode())
            self.host.run(self.argv, timeout_s=self.timeout_s, environment=environment, stdin=paper)
        finally:
            self.host.remove(paper)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a sink is: the text of the last checkpoint that it has, and whether it fails since."""

    checkpoint: str | None = None
    fails: bool = False


class Positions:
    """The positions of all sinks, in files apart from the ledger: an old copy of it, put back, does not fit them."""

    def __init__(self, host: SinkHost, directory: str) -> None:
        self._host = host
        self._directory = directory

    def read(self, sink: str) -> Position:
        """Where ``sink`` is. Raises DriverError."""
        path = self._path(sink)
        if self._host.stat(path) is None:
            return Position()
        try:
            found = json.loads(self._host.read(path))
            text = found["checkpoint"]
            return Position(None if text is None else str(text), bool(found["fails"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DriverError(f"cannot read the position of sink {sink}: {path} is damaged") from error

    def write(self, sink: str, position: Position) -> None:
        """Keep where ``sink`` is, durably."""
        self._host.make_directory(self._directory, mode=0o700)
        found = {"checkpoint": position.checkpoint, "fails": position.fails}
        self._host.write(self._path(sink), json.dumps(found).encode() + b"\n")

    def _path(self, sink: str) -> str:
        return f"{self._directory}/{sink}.json"


def syslog_message(seal: Seal, key: str, hostname: str, at: str) -> bytes:
    """One message: all of the checkpoint, its signature in one line, and the key, as structured data."""
    checkpoint = seal.checkpoint
    origin, size, root = checkpoint.text.splitlines()
    signature = "".join(line for line in seal.signature.splitlines() if not line.startswith("-----"))
    values = {"origin": origin, "size": size, "root": root, "key": key, "signature": signature}
    said = " ".join(f'{name}="{_SPECIAL.sub(_escaped, value)}"' for name, value in values.items())
    host = re.sub(r"[^!-~]", "-", hostname)[:255] or "-"
    text = f"the ledger is sealed to record {size}"
    return f"<{_PRIORITY}>1 {at} {host} rootswap - checkpoint [{_ELEMENT} {said}] {text}".encode()


def _escaped(match: re.Match[str]) -> str:
    return "\\" + match[1]
