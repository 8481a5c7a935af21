"""The bytes of a record."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.authority import Approval
from ledger.codec import GENESIS, LEDGER_STREAM, RawRecord, Record, canonical, decode, decode_any, encode, record_hash
from ledger.errors import IllegalEvent, LedgerDamaged, LedgerNewer
from ledger.events import (
    JsonObject,
    LedgerCreated,
    LedgerEvent,
    StepStarted,
    TransactionBegun,
    TransactionEvent,
)
from tests.ledger.fakes import ACTOR, TX, begun, started, succeeded


def record(event: TransactionEvent | LedgerEvent, *, transaction: str | None = TX) -> Record:
    return Record(
        seq=7,
        previous=GENESIS,
        event_id="0" * 32,
        stream=transaction or LEDGER_STREAM,
        version=1,
        transaction=transaction,
        target="jail:web",
        type=event.type,
        schema_version=1,
        at="2026-03-14T01:59:26.535897Z",
        monotonic_ns=1,
        boot_id="boot-1",
        host_id="host-1",
        engine_version="0.1.0",
        actor=ACTOR,
        reason=None,
        ticket=None,
        approval=None,
        event=event,
    )


def altered(original: TransactionEvent, /, **changes: object) -> bytes:
    return json.dumps({**json.loads(encode(record(original))), **changes}).encode()


def with_event(event: TransactionEvent, **changes: object) -> bytes:
    body = json.loads(encode(record(event)))["event"]
    return altered(event, event={**body, **changes})


def test_what_was_encoded_decodes_to_the_same_record() -> None:
    for event in (begun(), started(1), succeeded(1)):
        assert decode(encode(record(event))) == record(event)


def test_the_bytes_are_sorted_compact_utf_8() -> None:
    data = encode(record(begun().model_copy(update={"reason": "späte Änderung"})))
    assert "späte Änderung".encode() in data
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.parametrize("value", [math.nan, math.inf, "\udc80"])
def test_what_json_cannot_say_is_refused(value: float | str) -> None:
    event = TransactionBegun(kind="k", target="jail:web", steps=(), before=None, after=None, plan={"value": value})
    with pytest.raises(IllegalEvent, match=r"cannot encode transaction\.begun"):
        encode(record(event))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"seq":NaN}',
        b"[" * 100_000,
        altered(started(1), seq=0),
        altered(started(1), previous="short"),
        altered(started(1), at="2026-03-14T01:59:26Z"),
        altered(started(1), type="step.failed"),
        altered(started(1), stream="ledger"),
        altered(started(1), surprise=1),
        with_event(started(1), surprise=1),
        with_event(started(1), step="one"),
    ],
)
def test_what_is_not_a_record_is_damage(data: bytes) -> None:
    for reader in (decode, decode_any):
        with pytest.raises(LedgerDamaged, match="cannot decode record"):
            reader(data)


@pytest.mark.parametrize(
    "data",
    [
        altered(started(1), type="step.imagined", engine_version="9.0"),
        altered(started(1), schema_version=2, engine_version="9.0"),
        with_event(succeeded(1), fact={"fact": "moon-landed", "before": None, "after": None}),
    ],
)
def test_what_a_newer_version_wrote_is_refused_but_can_be_shown(data: bytes) -> None:
    with pytest.raises(LedgerNewer, match="cannot decode record 7") as caught:
        decode(data)
    assert caught.value.remedy.startswith("use rootswap ")
    shown = decode_any(data)
    assert isinstance(shown, RawRecord)
    assert shown.event == json.loads(data)["event"]


def test_an_old_record_is_lifted_version_by_version() -> None:
    def from_minus_one(event: JsonObject) -> JsonObject:
        return {"type": event["type"], "step": event["number"], "kind": event["kind"]}

    def from_zero(event: JsonObject) -> JsonObject:
        return {**event, "attempt": 1}

    old = altered(started(1), schema_version=-1, event={"type": "step.started", "number": 3, "kind": "StopJail"})
    upcasters = {("step.started", -1): from_minus_one, ("step.started", 0): from_zero}
    found = decode(old, upcasters=upcasters)
    assert found.event == StepStarted(step=3, kind="StopJail", attempt=1)
    assert found.schema_version == -1, "the record says how it was written"


def test_an_old_record_that_nothing_lifts_is_damage() -> None:
    with pytest.raises(LedgerDamaged, match="never had version 0"):
        decode(altered(started(1), schema_version=0))


def test_the_hash_is_that_of_the_bytes() -> None:
    assert record_hash(b"").hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@settings(deadline=None)
@given(WORDS, WORDS, st.none() | WORDS, st.none() | st.builds(Approval, by=WORDS, at=WORDS, meaning=WORDS), WORDS)
def test_the_envelope_spelt_by_hand_is_the_canonical_one(
    boot: str, host: str, reason: str | None, approval: Approval | None, login: str
) -> None:
    actor = ACTOR.model_copy(update={"login": login, "tty": reason})
    said = {"boot_id": boot, "host_id": host, "reason": reason, "ticket": reason, "approval": approval, "actor": actor}
    for event in (begun(), started(1), succeeded(1), LedgerCreated()):
        spelt = record(event).model_copy(update=said)
        assert encode(spelt) == canonical(spelt.model_dump(mode="json"))
