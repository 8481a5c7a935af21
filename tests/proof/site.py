"""A ledger with real keys and real signatures, in a directory of its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from commands.drivers.host import LocalHost
from commands.drivers.signing import SshChecker, SshKeys
from commands.drivers.sinks import Positions, Sink
from commands.transactions.sealing import Sealer
from ledger.checkpoint import Checkpoint, Seal
from ledger.reader import LedgerReader
from ledger.verify import VerifyReport
from ledger.vouch import Evidence
from ledger.writer import LedgerWriter
from tests.ledger.fakes import ORIGIN, TX, FakeClock, begun, started, whole_unwinding, whole_upgrade

HOST = LocalHost()


@dataclass(frozen=True, slots=True)
class Site:
    """Where the ledger, the keys and the positions of the sinks are."""

    base: Path

    @property
    def ledger(self) -> Path:
        return self.base / "ledger"

    @property
    def keys(self) -> SshKeys:
        return SshKeys(HOST, f"{self.base}/keys")

    @property
    def checker(self) -> SshChecker:
        return SshChecker(HOST, str(self.base))

    @contextmanager
    def open(self, sinks: Sequence[Sink] = ()) -> Iterator[tuple[LedgerWriter, Sealer]]:
        """The engine's side: a writer and a sealer."""
        key = None if (self.ledger / "ledger.db").exists() else self.keys.make_key()
        with LedgerWriter.create(self.ledger, ORIGIN, FakeClock(), key=key) as writer:
            yield writer, Sealer(writer, self.keys, sinks, Positions(HOST, f"{self.base}/sinks"))

    def verify(self, **evidence: object) -> VerifyReport:
        """What an auditor does."""
        with LedgerReader.open(self.ledger) as reader:
            return reader.verify(Evidence(self.checker, **evidence))  # type: ignore[arg-type]  # as given

    def seals(self) -> list[Seal]:
        with LedgerReader.open(self.ledger) as reader:
            return reader.seals()

    def checkpoint(self) -> Checkpoint:
        """The newest one signed."""
        return self.seals()[-1].checkpoint


def filled(base: Path, tail: int = 0) -> Site:
    """1 creation, 2-7 an upgrade, sealed; 8-14 an unwinding, sealed; and if asked, 15-16 an open transaction."""
    site = Site(base)
    with site.open() as (writer, sealer):
        writer.append(TX, *whole_upgrade())
        sealer.seal()
        writer.append("aaaa0002", *whole_unwinding("jail:db"))
        sealer.seal()
        if tail:
            writer.append("aaaa0003", begun(), started(1))
    return site
