"""Large ledgers as the engine writes them, made quickly: what ``make bench-ledger`` measures.

The engine plays a year of a small host in memory. Its records, spelt by the real encoder, become moulds: only what is
another in each transaction (numbers, identifiers, moments, hashes) is cast anew, many transactions to a commit and
without waiting for the disk. Each transaction is followed by its checkpoint. Only the last checkpoint is signed, the
others bear its signature: a signature costs a process, and verifying looks at the newest one alone.

``python -m tests.ledger.bulk DIRECTORY RECORDS``
"""

import re
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path

from commands.bootstrap import Session
from commands.transactions.plan import Plan
from commands.transactions.run import Outcome
from ledger import index, rows, schema
from ledger.checkpoint import Checkpoint
from ledger.codec import Actor, Record, encode, record_hash
from ledger.events import TransactionBegun, TransactionEvent
from ledger.lifecycle import State
from ledger.merkle import Frontier, leaf_hash
from ledger.reader import LedgerReader
from ledger.seals import read_origin
from tests.ledger.attacks import tamper
from tests.ledger.fakes import START, whole_upgrade
from tests.proof import site as proof
from tests.site import CONFIG, Site

JAILS = ("web", "mail", "db")
HOST, BOOT, ENGINE = "4c1d3f0e9a7b4d5f8e6a1b2c3d4e5f60", "9e1b6c52-7a0d-4f7e-8f83-3c2a5d0b7e11", "0.1.0"
#: The engine numbers transactions in eight digits while it plays; here they say which round and which of it.
_ID = re.compile(rb"\b00000(\d{3})\b")
_FILLED = re.compile(rb'"(at|event_id|monotonic_ns|previous|seq)":("?)[^",}]+')
_INSERT_RECORD = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_TRANSACTION = "INSERT INTO transactions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_SEAL = "INSERT INTO seals VALUES (?, ?, '', ?)"
_ENDS = {"transaction.committed": "committed", "transaction.rolled-back": "rolled-back"}
_THREE = CONFIG.model_copy(update={"jail": dict.fromkeys(JAILS, CONFIG.jail["web"])})
#: What one row of ``events`` is made of.
Columns = tuple[int, str, str, int, str | None, str | None, str, int, str, bytes, bytes, bytes]


@dataclass(frozen=True, slots=True)
class Mould:
    """One record, to be cast again and again."""

    record: Record
    template: bytes

    @classmethod
    def of(cls, record: Record) -> "Mould":
        """The mould of a record that the engine has written, as a host would have it."""
        verb = "upgrade" if record.target is None else record.target.partition(":")[0]
        invoked = ("rootswap", verb, (record.target or "").partition(":")[2])
        actor = Actor(uid=0, login="paul", login_uid=1001, invoked=invoked, tty="pts/0")
        origin = {"host_id": HOST, "boot_id": BOOT, "engine_version": ENGINE, "actor": actor}
        spelt = encode(record.model_copy(update=origin)).replace(b"%", b"%%")
        start, end = spelt.index(b',"event":{'), spelt.rindex(b',"event_id":')
        fill = r'"\1":\2%(\1)b'
        whole = _FILLED.sub(fill.encode(), spelt[:start]) + spelt[start:end] + _FILLED.sub(fill.encode(), spelt[end:])
        whole = whole.replace(b'"reason":"test"', b'"reason":"CVE-2026-%(round)b"')
        whole = whole.replace(b'"ticket":null', b'"ticket":"OPS-%(round)b"')
        return cls(record, _ID.sub(rb"%(round)b\1", whole))

    def fill(self, at: str, event_id: str, seq: int, previous: bytes, number: int) -> bytes:
        """The bytes of the record at ``seq``, in a round of that number."""
        return self.template % {
            b"at": at.encode(),
            b"event_id": event_id.encode(),
            b"monotonic_ns": b"%d" % (seq * 17_000_003),
            b"previous": previous.hex().encode(),
            b"seq": b"%d" % seq,
            b"round": b"%05d" % number,
        }

    def name(self, number: int) -> str | None:
        """The transaction, in this round."""
        mine = self.record.transaction
        return None if mine is None else f"{number:05d}{mine[5:]}"


class Caster:
    """Casts records onto the end of a ledger; knows what the next one has to name."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        (first,) = rows.select(connection, "")
        self.seq, self.hash, self.frontier = 1, first.hash, Frontier()
        self.frontier.add(leaf_hash(first.record))
        self.origin = read_origin(connection)

    def cast(self, year: Sequence[Mould], number: int) -> None:
        """One round of transactions, in one commit, each with its checkpoint; the index has them too."""
        first = self.seq + 1
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany(_INSERT_RECORD, [self._cast(mould, number) for mould in year])
        self.connection.executemany(_INSERT_TRANSACTION, _index_rows(year, number, first))
        self.connection.execute("COMMIT")

    def _cast(self, mould: Mould, number: int) -> Columns:
        self.seq += 1
        moment = START + timedelta(minutes=self.seq // 16, milliseconds=250 * (self.seq % 16))
        at = f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
        event_id = f"{self.seq * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128):032x}"
        data = mould.fill(at, event_id, self.seq, self.hash, number)
        self.hash = record_hash(data)
        subtrees = b"".join(self.frontier.add(leaf_hash(data)))
        record, name = mould.record, mould.name(number)
        if record.type in ("transaction.committed", "transaction.rolled-back"):
            text = Checkpoint(self.origin, self.seq, self.frontier.root()).text
            self.connection.execute(_INSERT_SEAL, (self.seq, text, at))
        numbers = (self.seq, event_id, name or record.stream, record.version)
        return (*numbers, name, record.target, record.type, record.schema_version, at, self.hash, subtrees, data)

    def settle(self, after: int) -> None:
        """Have the index say what the records after ``after`` add up to."""
        streams: dict[str, list[Record]] = {}
        for row in rows.select(self.connection, "WHERE seq > ? ORDER BY seq", (after,)):
            streams.setdefault(row.stream, []).append(row.decode())
        self.connection.execute("BEGIN IMMEDIATE")
        for records in streams.values():
            stream = index.fold(records)
            if stream is not None:
                index.put(self.connection, stream)
        self.connection.execute("COMMIT")


def grow(base: Path, records: int) -> proof.Site:
    """A ledger with at least as many records, its keys, a signed end, and one open transaction after it."""
    made = proof.Site(base)
    with made.open():
        pass
    first, year, interrupted = _play()
    with closing(schema.connect(made.ledger / schema.LEDGER_FILE)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        caster = Caster(connection)
        caster.cast(first, 0)
        caster.settle(0)
        before = caster.seq
        for number in count(1):
            before = caster.seq
            caster.cast(year, number)
            if caster.seq >= records - len(interrupted):
                break
        caster.settle(before)
        schema.checkpoint(connection)
    with made.open() as (writer, sealer):
        writer.append("zzzzzzz0", *whole_upgrade("jail:test"))
        seal = sealer.seal().seal
        writer.append("zzzzzzz1", *interrupted)
    assert seal is not None
    tamper(made.ledger, f"UPDATE seals SET signature = '{seal.signature}' WHERE signature = ''")
    return made


def played_upgrade() -> list[TransactionEvent]:
    """The events of an upgrade of a jail, from begun to committed."""
    _, year, _ = _play()
    first = next(mould.record for mould in year if mould.record.target == "jail:web")
    return [
        mould.record.event
        for mould in year
        if mould.record.transaction == first.transaction and isinstance(mould.record.event, TransactionEvent)
    ]


def _play() -> tuple[list[Mould], list[Mould], list[TransactionEvent]]:
    """How the engine lays out a host, what it does there in a round, and a transaction that it was interrupted in."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        site = Site(Path(directory), _THREE).settle()
        for jail in JAILS[1:]:
            _upgrade(site, jail).raise_unless_committed()
        laid_out = _records(site)
        for turn in range(4):
            _play_turn(site, turn)
        played = _records(site)[len(laid_out) :]
    last = [record for record in played if record.transaction == played[-1].transaction]
    events = [record.event for record in last if isinstance(record.event, TransactionEvent)][:4]
    return [Mould.of(record) for record in laid_out[1:]], [Mould.of(record) for record in played], events


def _play_turn(site: Site, turn: int) -> None:
    """A new release, which one jail cannot stand the first time; now and then somebody goes back."""
    release = site.run(lambda session: session.requests.upgrade_template("debian", None)).transaction
    for number, jail in enumerate(JAILS):
        if (turn + number) % 6 == 2:
            site.world.unhealthy.add(f"debian@{release}")
            assert _upgrade(site, jail).state is State.ROLLED_BACK
            site.world.unhealthy.clear()
        _upgrade(site, jail).raise_unless_committed()
        if (turn + number) % 5 == 4:
            site.run(partial(_roll_back, jail)).raise_unless_committed()
            _upgrade(site, jail).raise_unless_committed()
    site.run(lambda session: session.requests.stop("web")).raise_unless_committed()
    site.run(lambda session: session.requests.start("web")).raise_unless_committed()


def _upgrade(site: Site, jail: str) -> Outcome:
    return site.run(lambda session: session.requests.upgrade(jail, None))


def _roll_back(jail: str, session: Session) -> Plan:
    return session.requests.rollback(jail)


def _records(site: Site) -> list[Record]:
    with LedgerReader.open(site.directory) as reader:
        return [record for record in reader.records() if isinstance(record, Record)]


def _index_rows(year: Sequence[Mould], number: int, first: int) -> Iterator[tuple[object, ...]]:
    """The lines of the index for transactions that have ended, in a round that starts with record ``first``."""
    begun: dict[str | None, tuple[int, str]] = {}
    for seq, mould in enumerate(year, first):
        record, name = mould.record, mould.name(number)
        if isinstance(record.event, TransactionBegun):
            begun[name] = (seq, record.event.kind)
        state = _ENDS.get(record.type)
        if state is not None:
            why = f"CVE-2026-{number:05d}", f"OPS-{number:05d}"
            yield name, begun[name][1], record.target, state, begun[name][0], seq, *why, None


if __name__ == "__main__":
    grow(Path(sys.argv[1]), int(sys.argv[2]))
