"""Records for those who only show them say what the others say, but for the plan, which nobody shows."""

import json
import random
from pathlib import Path

import pytest

from ledger.codec import Record
from ledger.errors import LedgerDamaged
from ledger.reader import LedgerReader
from tests.ledger.attacks import tamper
from tests.ledger.fakes import TX, begun, create, whole_upgrade
from tests.projections.histories import write


@pytest.mark.parametrize("seed", range(3))
def test_a_plain_record_says_what_the_record_says(seed: int, tmp_path: Path) -> None:
    write(tmp_path, random.Random(seed), 60)
    with LedgerReader.open(tmp_path) as reader:
        records = list(reader.records())
        plain = list(reader.plain_records(limit=len(records)))
        assert len(plain) == len(records)
        for told, record in zip(plain, records, strict=True):
            assert isinstance(record, Record)
            event = record.event.model_dump(mode="json")
            assert (told.seq, told.transaction, told.at, told.type) == (
                record.seq,
                record.transaction,
                record.at,
                record.type,
            )
            assert (told.actor, told.reason, told.approval) == (record.actor, record.reason, record.approval)
            event.pop("plan", None)
            stored = {key: value for key, value in told.event.items() if key != "plan"}
            assert stored.items() <= event.items(), "fields that came later are not in what was stored"


@pytest.mark.parametrize(
    "state",
    [
        {"release": "base@00000001"},
        {"release": "base@00000001", "plan": {"of": "escape"}},
        {"release": "base@00000001", "within": {"more": 1, "plan": {"of": "escape"}}},
        {"release": 'base","plan":{"x":1},"reason":', "head": '},"reason":'},
    ],
)
def test_what_looks_like_a_plan_in_a_state_is_left_where_it_is(state: dict[str, object], tmp_path: Path) -> None:
    plan = {"steps": [{"kind": "stop_jail", "text": ',"plan":{}},"reason":'}], "reason": "x"}
    order = begun().model_copy(update={"before": state, "after": state, "plan": plan})
    with create(tmp_path) as ledger:
        ledger.append(TX, order)
    with LedgerReader.open(tmp_path) as reader:
        (told,) = reader.plain_records(transaction=TX, limit=5)
    assert (told.event["before"], told.event["after"], told.event["reason"]) == (state, state, order.reason)
    assert set(told.event) >= set(json.loads(order.model_dump_json())) - {"plan"}


def test_bytes_that_are_not_those_that_were_hashed_are_not_shown(tmp_path: Path) -> None:
    with create(tmp_path) as ledger:
        ledger.append(TX, *whole_upgrade())
    tamper(
        tmp_path, "UPDATE events SET record = cast(replace(record, '\"plan\":{', '\"plan\":{ ') AS BLOB) WHERE seq = 2"
    )
    with LedgerReader.open(tmp_path) as reader, pytest.raises(LedgerDamaged, match="record 2"):
        list(reader.plain_records(limit=5))
