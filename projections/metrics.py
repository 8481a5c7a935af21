"""What a monitoring system asks of the ledger, in the text format of Prometheus (version 0.0.4)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from projections.questions import BY_NAME, Connection, Scope, ask, by_state, counts_up_to, downtimes

#: Upper bounds of the downtime histogram, in seconds: from what a client does not notice to what it does not forget.
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_OPEN = ("forward", "unwinding", "stuck", "planned", "approved")
_ENDED = ("committed", "rolled-back", "rejected")
_KINDS = {"counter": "counter", "gauge": "gauge", "histogram": "histogram"}


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What the tables do not know: the length of the ledger, how much of it is signed, and its last verification.

    ``verified_at`` is UTC as recorded; None where it was never verified.
    """

    records: int
    sealed: int
    verified_at: str | None
    is_sound: bool
    verified_records: int


def metrics(tables: Connection, state: LedgerState) -> str:
    """All metrics; in one order, so that the same ledger gives the same text."""
    return "".join(f"{line}\n" for line in _lines(tables, state))


def _lines(tables: Connection, state: LedgerState) -> Iterator[str]:
    states, left = by_state(tables, Scope()), ask(tables, BY_NAME["open"].name, Scope())
    open_states = Counter(row["state"] for row in left)
    yield from _family(
        "rootswap_transactions_total", "counter", "Transactions that have ended, by outcome.",
        [({"outcome": name}, states.get(name, 0)) for name in _ENDED],
    )  # fmt: skip
    yield from _family(
        "rootswap_open_transactions", "gauge", "Transactions that have not ended, by state; stuck needs a person.",
        [({"state": name}, open_states[name]) for name in _OPEN],
    )  # fmt: skip
    owed = sum(1 for row in left if row["approval"] == "owed")
    yield from _family(
        "rootswap_approvals_owed", "gauge", "Emergencies that nobody has answered for yet.", [({}, owed)]
    )
    yield from _histogram(tables)
    yield from _family("rootswap_ledger_records", "gauge", "Records in the ledger.", [({}, state.records)])
    yield from _family(
        "rootswap_ledger_unsealed_records", "gauge", "Records after the last signed checkpoint.",
        [({}, state.records - state.sealed)],
    )  # fmt: skip
    if state.verified_at is not None:
        at = datetime.fromisoformat(state.verified_at).timestamp()
        yield from _family(
            "rootswap_last_verify_timestamp_seconds", "gauge", "When the ledger was verified last.", [({}, at)]
        )
        yield from _family(
            "rootswap_last_verify_success", "gauge", "Whether it was sound then.", [({}, int(state.is_sound))]
        )
        yield from _family(
            "rootswap_last_verify_records", "gauge", "How many records it had then.", [({}, state.verified_records)]
        )


def _family(
    name: str, kind: str, words: str, samples: Sequence[tuple[Mapping[str, str], int | float]]
) -> Iterator[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} {_KINDS[kind]}"
    for labels, value in samples:
        yield f"{name}{_labels(labels)} {value}"


def _histogram(tables: Connection) -> Iterator[str]:
    name = "rootswap_downtime_seconds"
    yield from _family(name, "histogram", "Downtimes, from the stop to the first passed health check.", [])
    for one in downtimes(tables, Scope()):
        counts = counts_up_to(tables, one.target, [int(bound * 1e9) for bound in BUCKETS])
        for bound, count in zip(BUCKETS, counts, strict=True):
            yield f"{name}_bucket{_labels({'target': one.target, 'le': f'{bound:g}'})} {count}"
        yield f"{name}_bucket{_labels({'target': one.target, 'le': '+Inf'})} {one.changes}"
        yield f"{name}_sum{_labels({'target': one.target})} {one.total_ns / 1e9}"
        yield f"{name}_count{_labels({'target': one.target})} {one.changes}"


def _labels(labels: Mapping[str, str]) -> str:
    said = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{said}}}" if said else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
