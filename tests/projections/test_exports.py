"""Each export is what its format's own library or schema says, and nothing in it is dangerous to its reader."""

import csv
import io
import json
import random
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema  # type: ignore[import-untyped]
from syslog_rfc5424_parser import SyslogMessage  # type: ignore[import-untyped]

from ledger.errors import LedgerDamaged
from ledger.events import CopyFailed, KeyRotated, StepSucceeded, TransactionBegun
from ledger.facts import Fact, PoolCreated, ReleaseRetired, SnapshotTaken, TemplateBuilt, VolumesCreated
from ledger.reader import LedgerReader
from projections.cells import guarded, visible
from projections.exports import FORMATS, export, stored_bytes
from projections.formats.separated import COLUMNS
from tests.ledger.attacks import forge, tamper
from tests.ledger.fakes import TX, create, started, whole_unwinding
from tests.projections.histories import write

HOSTILE = "=cmd|'/C calc'!A0 \"]\\ \x1b[2J\x07\x7f\x9b\n<1>1 - - - - - -\r\u202egpj.exe\u2028 é 🦀 </script><b>&"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB1mY0qWkV6dN0mV5Kc4eWl6n3dV4xO0bS2n8o7uJt5k"
FACTS: tuple[Fact, ...] = (
    PoolCreated(before=None, after="/pool", path="/pool", image=None, size_bytes=1),
    TemplateBuilt(before=None, after="debian", template="debian", head="aaaa0001", base=None),
    SnapshotTaken(before=None, after="debian@aaaa0001", release="debian@aaaa0001", fingerprint="f"),
    ReleaseRetired(before="debian@aaaa0001", after=None, release="debian@aaaa0001"),
    VolumesCreated(before=None, after=None, jail="web", volumes=("log",)),
)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random transactions, hostile words, every kind of fact, events of the ledger, and records of a newer version."""
    directory = tmp_path_factory.mktemp("ledger")
    write(directory, random.Random(2), 150)
    with create(directory) as writer:
        hostile: dict[str, Any] = {"kind": "upgrade", "target": "jail:bad", "before": None, "after": None, "plan": {}}
        kinds = tuple(f"step{number}" for number in range(len(FACTS)))
        writer.append(TX, TransactionBegun(**hostile, steps=kinds, reason=HOSTILE, ticket="-1+1"))
        for number, fact in enumerate(FACTS, 1):
            kind = kinds[number - 1]
            done = StepSucceeded(step=number, kind=kind, attempt=1, fact=fact, duration_ns=2_500_000)
            writer.append(TX, started(number).model_copy(update={"kind": kind}), done)
        writer.append("aaaa0002", *whole_unwinding("jail:worse"))
        writer.note(KeyRotated(previous=None, key=KEY, signature=None))
        writer.note(CopyFailed(sink="vault", size=3, cause=HOSTILE))
    forge(directory, {"type": "moon.observed", "event": {"type": "moon.observed", "phase": "full"}})
    return directory


def lines(ledger: Path, format: str) -> list[bytes]:
    with LedgerReader.open(ledger) as reader:
        seqs = range(1, reader.last_seq() + 1)
        return list(export(reader.path, "rootswap/host-1/1", seqs, format))


def records(ledger: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(ledger, "jsonl")]


def test_jsonl_is_the_stored_bytes(ledger: Path) -> None:
    with LedgerReader.open(ledger) as reader:
        stored = list(stored_bytes(reader.path, range(1, reader.last_seq() + 1)))
    assert lines(ledger, "jsonl") == [data + b"\n" for data in stored]


def test_cloudevents_are_read_back_by_the_library_of_the_format(ledger: Path) -> None:
    said = lines(ledger, "cloudevents")
    for line, record in zip(said, records(ledger), strict=True):
        event = JSONFormat().read(CloudEvent, line)
        assert (event.get_id(), event.get_type()) == (record["event_id"], f"rootswap.{record['type']}")
        assert event.get_data() == record
        assert event.get_subject() == record["target"]
        assert int(event.get_extension("sequence")) == record["seq"]
        time = event.get_time()
        assert time is not None
        assert f"{time:%Y-%m-%dT%H:%M:%S.%f}Z" == record["at"]
    order = [json.loads(line)["sequence"] for line in said]
    assert order == sorted(order)


@cache
def validator(class_uid: int) -> Draft202012Validator:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.8.0"))
    name = schema.lookup_class_name_from_uid(class_uid=class_uid)
    return Draft202012Validator(schema.get_class_schema(class_name=name, profiles=["host"]))


def test_every_ocsf_event_is_valid_by_the_schema_of_its_class(ledger: Path) -> None:
    seen = set()
    for line, record in zip(lines(ledger, "ocsf"), records(ledger), strict=True):
        event = json.loads(line)
        problems = [f"{error.json_path}: {error.message}" for error in validator(event["class_uid"]).iter_errors(event)]
        assert problems == [], line
        assert json.loads(event["raw_data"]) == record
        seen.add((event["class_uid"], event["activity_id"]))
    assert {class_uid for class_uid, _ in seen} == {6002, 3004, 1008}
    assert {(3004, 1), (3004, 4), (6002, 8), (1008, 6), (1008, 3)} <= seen


def test_an_ocsf_event_that_is_wrong_would_be_noticed(ledger: Path) -> None:
    event = json.loads(lines(ledger, "ocsf")[0])
    del event["metadata"]["product"]
    assert list(validator(1008).iter_errors({**event, "activity_id": 77, "surprise": 1}))


def test_every_syslog_message_is_parsed_and_is_one_line(ledger: Path) -> None:
    for line, record in zip(lines(ledger, "rfc5424"), records(ledger), strict=True):
        text = line.decode().removesuffix("\n")
        assert all(char.isprintable() or char == "\ufeff" for char in text)
        message = SyslogMessage.parse(text).as_dict()
        assert (message["facility"], message["appname"], message["msgid"]) == ("audit", "rootswap", record["type"])
        assert message["timestamp"] == record["at"]
        ours = message["sd"]["rootswap@32473"]
        assert (int(ours["seq"]), ours["login"]) == (record["seq"], "paul")
        assert len(text.encode()) < 2048, "what a relay need not take is longer (RFC 5424, 6.1)"
    hostile = next(line for line in lines(ledger, "rfc5424") if b"calc" in line)
    assert b'!A0 \\"\\]\\\\ ' in hostile, "the three characters that RFC 5424, 6.3.3 wants to be escaped"


def test_csv_is_read_back_and_no_cell_is_a_formula(ledger: Path) -> None:
    text = b"".join(lines(ledger, "csv")).decode()
    rows = list(csv.DictReader(io.StringIO(text), strict=True))
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["seq"]) for row in rows] == [record["seq"] for record in records(ledger)]
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
    hostile = next(row for row in rows if "calc" in row["reason"])
    assert hostile["reason"].startswith("'=cmd")
    assert hostile["ticket"] == "'-1+1"


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "jsonl"])
def test_nothing_that_controls_a_terminal_gets_out(ledger: Path, format: str) -> None:
    text = b"".join(lines(ledger, format)).decode()
    odd = {char for char in text if not char.isprintable()}
    assert odd <= {"\n", "\ufeff"}, odd


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 🦀", "plain é 🦀"),
        ("=1+1", "'=1+1"),
        ("-2", "'-2"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\\x09=1"),
        ("\r\n=1", "'\\x0d\\x0a=1"),
        ("\uff1d1", "'\uff1d1"),
        ("a=b", "a=b"),
    ],
)
def test_a_cell_that_looks_like_a_formula_is_disarmed(text: str, shown: str) -> None:
    assert guarded(text) == shown


def test_what_cannot_be_seen_is_spelt_out() -> None:
    assert visible("a\x1b[2J\u202eb\U000e0001") == "a\\x1b[2J\\u202eb\\ue0001"


def test_a_record_that_was_changed_is_not_exported(ledger: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ledger, copy)
    tamper(copy, "UPDATE events SET record = CAST(replace(record, 'paul', 'eve!') AS BLOB) WHERE seq = 5")
    for format in FORMATS:
        with pytest.raises(LedgerDamaged, match="record 5"):
            lines(copy, format)
