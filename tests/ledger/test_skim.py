"""Skimming accepts nothing that the full decoding would not, and says the same of what it accepts."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from ledger import schema
from ledger.codec import GENESIS, record_hash
from ledger.errors import LedgerDamaged, LedgerNewer
from ledger.events import Event, TransactionBegun
from ledger.facts import Fact
from ledger.names import ID_ALPHABET
from ledger.rows import COLUMNS, Columns, Row
from ledger.skim import _FREE, OF_PEOPLE, Frame, Skimmer
from tests.ledger.bulk import grow

NAMES = COLUMNS.split(", ")
SELECT = f"SELECT {COLUMNS} FROM events ORDER BY seq"


@dataclass
class Learnt:
    """A skimmer that has seen a ledger, and its rows."""

    skimmer: Skimmer
    rows: list[Columns]
    frames: dict[str, Frame]

    def previous(self, row: Columns) -> str:
        return self.rows[row[0] - 2][9].hex()

    def accepts(self, row: Columns) -> bool:
        """Whether either way of skimming recognises ``row``."""
        skimmed = self.skimmer.skim(row, row[0], self.previous(row)) is not None
        frame = self.frames.get(row[2])
        return skimmed or (
            frame is not None and self.skimmer.recognise(row, frame, row[0], self.previous(row)) is not None
        )


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Learnt]:
    site = grow(tmp_path_factory.mktemp("skim"), 800)
    connection = schema.connect_reader(site.ledger / "ledger.db")
    found = Learnt(Skimmer(), connection.execute(SELECT).fetchall(), {})
    connection.close()
    for row in found.rows:
        found.skimmer.learn(row, Row(*row).decode())
    for row in found.rows[1:]:
        skimmed = found.skimmer.skim(row, row[0], found.previous(row))
        if skimmed is not None:
            found.frames[row[2]] = skimmed[1]
    yield found


def test_nearly_all_records_of_an_engine_are_recognised(learnt: Learnt) -> None:
    accepted = [row for row in learnt.rows[1:] if learnt.accepts(row)]
    assert len(accepted) > 0.98 * len(learnt.rows)
    assert {row[6] for row in accepted} > {
        "transaction.begun",
        "step.succeeded",
        "unwind.started",
        "transaction.committed",
    }


def test_what_is_recognised_is_what_is_decoded(learnt: Learnt) -> None:
    for row in learnt.rows[1:]:
        skimmed = learnt.skimmer.skim(row, row[0], learnt.previous(row))
        if skimmed is None:
            continue
        event = Row(*row).decode().event
        known, frame, purpose = skimmed
        assert type(known.event) is type(event) and frame.target == row[5]
        if isinstance(event, TransactionBegun) and isinstance(known.event, TransactionBegun):
            assert purpose is not None and (purpose.reason, purpose.ticket) == (event.reason, event.ticket)
            for name in ("kind", "target", "steps", "approval"):
                assert getattr(known.event, name) == getattr(event, name)
        else:
            for name in ("step", "kind", "attempt", "observed", "choice", "boot_id"):
                assert getattr(known.event, name, None) == getattr(event, name, None)


@pytest.mark.parametrize("value", [None, 7, 1.0, "1", "x", b"x", b""])
@pytest.mark.parametrize("column", [name for name in NAMES if name != "subtrees"])
def test_no_column_is_believed_whatever_a_damaged_page_puts_there(learnt: Learnt, column: str, value: Any) -> None:
    for row in learnt.rows[300:340]:
        place = NAMES.index(column)
        changed = (*row[:place], value, *row[place + 1 :])
        if changed != row or type(value) is not type(row[place]):
            skimmed = learnt.skimmer.skim(changed, row[0], learnt.previous(row))
            frame = learnt.frames[row[2]]
            known = learnt.skimmer.recognise(changed, frame, row[0], learnt.previous(row))
            # The version is for the caller to look at: it must be the very number.
            if column != "version" or type(value) is int:
                assert skimmed is None and known is None


def test_a_record_after_another_one_is_not_recognised(learnt: Learnt) -> None:
    row = learnt.rows[300]
    assert learnt.skimmer.skim(row, row[0], learnt.previous(row)) is not None
    assert learnt.skimmer.skim(row, row[0], GENESIS) is None
    assert learnt.skimmer.recognise(row, learnt.frames[row[2]], row[0], GENESIS) is None
    assert learnt.skimmer.recognise(row, learnt.frames[row[2]], row[0] + 1, learnt.previous(row)) is None


def test_nothing_is_learnt_of_a_record_with_a_field_twice(learnt: Learnt) -> None:
    """JSON lets the last one win, wherever it stands."""
    row = next(row for row in learnt.rows if row[6] == "step.started")
    head, mark, end = row[11].rpartition(b',"event_id":')
    engine = Row(*row).decode().engine_version.encode()
    twice = head + b',"engine_version":"' + engine + b'"' + mark + end
    forged = (*row[:9], record_hash(twice), row[10], twice)
    skimmer = Skimmer()
    skimmer.learn(forged, Row(*forged).decode())
    assert skimmer.skim(forged, row[0], learnt.previous(row)) is None


def test_no_record_is_recognised_that_decoding_refuses(learnt: Learnt) -> None:
    """A forger who hashes well: parts of records are exchanged, repeated, left out and made up."""
    chance = random.Random(7)
    accepted = refused = 0
    for _ in range(40_000):
        row = chance.choice(learnt.rows[1:])
        forged = mutate(row[11], chance.choice(learnt.rows)[11], chance)
        if forged == row[11]:
            continue
        changed = (*row[:9], record_hash(forged), row[10], forged)
        if not learnt.accepts(changed):
            refused += 1
            continue
        accepted += 1
        try:
            record = Row(*changed).decode()
        except (LedgerDamaged, LedgerNewer) as error:
            pytest.fail(f"{forged!r}: {error}")
        assert record.previous == learnt.previous(row)
    assert accepted > 100 and refused > 10_000


TOKENS = b'\0 @ " \\ { } , : 0 -1 1.5 1e3 null NaN \xff \xc3\xa4'.split(b" ")


def mutate(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """One small change, often one that a lazy reader would not notice."""
    place = chance.randrange(len(data))
    match chance.randrange(7):
        case 0:
            return data[:place] + chance.choice(TOKENS) + data[place:]
        case 1:
            return data[:place] + chance.choice(TOKENS) + data[place + 1 :]
        case 2:
            return data[:place] + data[place + chance.randrange(1, 9) :]
        case 3:  # digits, which durations and identifiers have
            digits = [at for at, byte in enumerate(data) if chr(byte) in ID_ALPHABET]
            at = chance.choice(digits)
            return data[:at] + chance.choice(ID_ALPHABET + "ilou-._ A").encode() + data[at + 1 :]
        case 4:  # a field of another record
            parts, others = data.split(b',"'), other.split(b',"')
            parts[chance.randrange(len(parts))] = chance.choice(others)
            return b',"'.join(parts)
        case 5:  # a field twice, or not at all
            parts = data.split(b',"')
            at = chance.randrange(len(parts))
            return b',"'.join([*parts[:at], *[parts[at]] * chance.choice([0, 2]), *parts[at + 1 :]])
        case _:  # a duration
            return data.replace(
                b'_ns":', b'_ns":' + chance.choice([b"1", b"0", b"-", b"9" * 30, b"1.", b"1e", b'"']), 1
            )


def test_what_may_hold_any_text_does_so_in_every_event_and_fact() -> None:
    free = _FREE.pattern.split(b"(?:")[1].split(b")")[0].decode().split("|")
    assert "cause" in free
    events = [kind for kind in get_args(get_args(Event)[0]) if kind not in (TransactionBegun, *OF_PEOPLE)]
    for model in (*events, *get_args(get_args(Fact)[0])):
        for name, field in fields(model):
            if name in free:
                assert field in (str, str | None), f"{model.__name__}.{name}"
            if name.endswith("_ns"):
                assert field in (int, int | None), f"{model.__name__}.{name}"


def fields(model: type[BaseModel]) -> list[tuple[str, object]]:
    return [(name, field.rebuild_annotation()) for name, field in model.model_fields.items()]
