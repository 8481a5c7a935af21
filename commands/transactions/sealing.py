"""Seals the ledger: signs a checkpoint of what is durable, and gets it off this host.

Asked at engine start, after the last event of every transaction (the jail serves again by then: nothing of this is in
the downtime) and by ``audit checkpoint``. A checkpoint is signed only if the ledger goes on from the last one signed,
both as the ledger has it and as the key's own memory has it; otherwise LedgerDamaged, and nothing goes on.

A missing tool or key is a warning: an upgrade is not failed for want of a signature, and ``audit verify`` fails closed
on what has none. A sink that is down is a warning and one event until it is up again; a required one is a refusal to
begin anything (``Sealed.require_copies``).
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from commands.config.shapes import Config
from commands.drivers.signing import SshKeys
from commands.drivers.sinks import CommandSink, DirectorySink, Position, Positions, Sink, SinkHost, SyslogSink
from commands.errors import DriverError, Refused, ToolMissing, UsageError
from ledger.checkpoint import CHECKPOINT_NAMESPACE, ROTATION_NAMESPACE, Checkpoint, Seal, fingerprint, rotation_text
from ledger.clock import Clock
from ledger.events import CopyFailed, CopyResumed, KeyRotated
from ledger.schema import LEDGER_FILE
from ledger.writer import LedgerWriter


@dataclass(frozen=True, slots=True)
class Sealed:
    """What came of it: the newest seal, what did not work, and the required sinks that are behind."""

    seal: Seal | None
    warnings: tuple[str, ...] = ()
    owed: tuple[str, ...] = ()
    #: Whether the key had forgotten what it signed last, so that an older copy of the ledger might pass.
    forgot: bool = False

    @property
    def warning(self) -> str | None:
        """The warnings in one clause."""
        return "; ".join(self.warnings) or None

    def require_copies(self) -> None:
        """Raise Refused if a required sink is down. For who begins something: recovery must not wait for a sink."""
        if self.owed:
            raise Refused(
                f"cannot begin: checkpoints must leave this host, and {self.warning}",
                remedy=f"mend sink {self.owed[0]}, or set required = false for it",
            )


class Sealer:
    """Signs and copies the checkpoints of one ledger; safe to call from several threads."""

    def __init__(self, ledger: LedgerWriter, keys: SshKeys, sinks: Sequence[Sink], positions: Positions) -> None:
        self._ledger = ledger
        self._keys = keys
        self._sinks = sinks
        self._positions = positions
        self._mutex = threading.Lock()

    def seal(self) -> Sealed:
        """Sign what is not signed yet and copy what is owed. Raises LedgerDamaged and the errors of an append."""
        with self._mutex:
            try:
                seal, forgot = self._sign()
            except DriverError as error:
                return Sealed(self._ledger.seals.last(), (f"cannot seal the ledger: {error.message}",))
            if seal is None:
                cause = "cannot seal the ledger: it has no key; `rootswap audit rotate-key` makes one"
                return Sealed(None, (cause,))
            troubles = [(sink, trouble) for sink in self._sinks if (trouble := self._copy(sink, seal)) is not None]
        owed = tuple(sink.name for sink, _ in troubles if sink.is_required)
        return Sealed(seal, tuple(trouble for _, trouble in troubles), owed, forgot)

    def rotate(self, private_key: str | None = None) -> str:
        """Hand over to a new key, or to the one at ``private_key``; returns its public half.

        The old key signs a last checkpoint and the new key; the new one signs the next checkpoint.
        Raises DriverError, UsageError, LedgerDamaged.
        """
        book = self._ledger.seals
        with self._mutex:
            previous = book.key()
            if previous is not None:
                self._sign()
            key = self._keys.make_key() if private_key is None else self._keys.adopt_key(private_key)
            if key == previous:
                raise UsageError(f"cannot hand over to {fingerprint(key)}: it is in force already")
            signature = None
            if previous is not None:
                text = rotation_text(book.checkpoint().origin, previous, key)
                signature = self._keys.sign(text.encode(), previous, ROTATION_NAMESPACE)
            self._ledger.note(KeyRotated(previous=previous, key=key, signature=signature))
            self._keys.allow([key] if previous is None else [previous, key])
        return key

    def _sign(self) -> tuple[Seal | None, bool]:
        """The newest seal, and whether the key had forgotten what it signed last."""
        book = self._ledger.seals
        key = book.key()
        if key is None:
            return None, False
        remembered = self._keys.signed_last(key)
        if remembered is not None:
            book.check(_parse(remembered))
        last = book.last()
        if last is not None:
            book.check(last.checkpoint)
        forgot = remembered is None and last is not None and book.key(last.checkpoint.size) == key
        self._keys.require(key)
        checkpoint = book.checkpoint()
        if last is not None and last.checkpoint == checkpoint:
            if forgot:
                self._keys.remember(key, checkpoint.text)
            return last, forgot
        self._keys.remember(key, checkpoint.text)
        seal = Seal(checkpoint, self._keys.sign(checkpoint.text.encode(), key, CHECKPOINT_NAMESPACE))
        book.add(seal)
        return seal, forgot

    def _copy(self, sink: Sink, newest: Seal) -> str | None:
        """Bring ``sink`` up to ``newest``; returns what is in the way. A new sink begins with the newest."""
        book = self._ledger.seals
        position = self._positions.read(sink.name)
        owed = [newest]
        if position.checkpoint is not None:
            at = _parse(position.checkpoint)
            book.check(at)
            owed = book.after(at.size)
        try:
            for seal in owed:
                sink.deliver(seal, book.key(seal.checkpoint.size) or "")
                position = Position(seal.checkpoint.text, position.fails)
                self._positions.write(sink.name, position)
        except DriverError as error:
            if not position.fails:
                self._ledger.note(CopyFailed(sink=sink.name, size=newest.checkpoint.size, cause=error.message))
                self._positions.write(sink.name, Position(position.checkpoint, fails=True))
            return f"sink {sink.name} has not got the checkpoint of {newest.checkpoint.size} records: {error.message}"
        if position.fails:
            self._ledger.note(CopyResumed(sink=sink.name, size=newest.checkpoint.size))
            self._positions.write(sink.name, Position(position.checkpoint))
        return None


def new_key(config: Config, host: SinkHost, ledger: Path) -> str | None:
    """The key for a ledger that is about to be created; None if it is there already, or without ssh-keygen."""
    if (ledger / LEDGER_FILE).exists():
        return None
    keys = SshKeys(host, config.keys_directory)
    try:
        key = keys.make_key()
        keys.allow([key])
    except ToolMissing:
        return None
    return key


def make_sealer(config: Config, ledger: LedgerWriter, host: SinkHost, hostname: str, clock: Clock) -> Sealer:
    """The sealer that the configuration asks for."""
    keys = SshKeys(host, config.keys_directory)
    return Sealer(ledger, keys, make_sinks(config, host, hostname, clock), Positions(host, config.sinks_directory))


def make_sinks(config: Config, host: SinkHost, hostname: str, clock: Clock) -> tuple[Sink, ...]:
    """The configured sinks, in the order of their names."""
    sinks: list[Sink] = []
    for name, wanted in sorted(config.audit.sinks.items()):
        common = (name, wanted.required, host)
        if wanted.directory is not None:
            sinks.append(DirectorySink(*common, wanted.directory))
        elif wanted.syslog is not None:
            sinks.append(SyslogSink(*common, wanted.syslog, hostname, clock, wanted.timeout_s))
        elif wanted.command is not None:
            sinks.append(CommandSink(*common, wanted.command, config.sinks_directory, wanted.timeout_s))
    return tuple(sinks)


def _parse(text: str) -> Checkpoint:
    try:
        return Checkpoint.parse(text)
    except ValueError as error:
        raise DriverError(
            f"what was signed or copied last (keys/*.signed, sinks/*) is not a checkpoint: {error}; "
            "hold the ledger against a checkpoint kept elsewhere (`rootswap audit verify --since`), then remove it"
        ) from error
