"""The period as a whole: a lane for each target, and a mark where each change began."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from projections.pages.markup import Markup, element, joined, text, words
from projections.pages.parts import STATES, When, look_of, mark
from projections.questions import Row

_QUARTERS = 4


def lanes(changes: Sequence[Row], since: str, until: str, when: When) -> Markup:
    """The lanes, jails and slots first, under one axis of time."""
    start, end = datetime.fromisoformat(since), datetime.fromisoformat(until)
    targets = sorted({str(row["target"]) for row in changes}, key=order)
    rows: list[Markup | None] = []
    for target in targets:
        marks = (_mark(row, start, end) for row in reversed(changes) if row["target"] == target)
        rows += [words("div", target, class_="name"), element("div", *marks, class_="lane")]
    return joined(_legend(), element("div", element("span"), _axis(start, end, when), *rows, class_="lanes"))


def order(target: str) -> tuple[int, str]:
    """Jails and hosts come before what serves them."""
    kinds = ("jail", "host", "template", "release", "pool")
    kind = target.partition(":")[0]
    return kinds.index(kind) if kind in kinds else len(kinds), target


def place(at: str, start: datetime, end: datetime) -> float:
    """Where a moment is between ``start`` and ``end``, in percent."""
    span = (end - start) / timedelta(microseconds=1)
    return 100 * min(1.0, max(0.0, (datetime.fromisoformat(at) - start) / timedelta(microseconds=1) / (span or 1.0)))


def _mark(row: Row, start: datetime, end: datetime) -> Markup:
    at = place(str(row["begun_at"]), start, end)
    said = f"{row['kind']} {row['transaction_id']} {row['state']}"
    return element(
        "a", mark(row["state"]), href=f"#{row['transaction_id']}", class_=look_of(row["state"]),
        style=f"left:{at:.4f}%", title=said, aria_label=said,
    )  # fmt: skip


def _axis(start: datetime, end: datetime, when: When) -> Markup:
    ticks = []
    for quarter in range(0, _QUARTERS + 1, 2):
        at = start + (end - start) * quarter / _QUARTERS
        shown = when(f"{at:%Y-%m-%dT%H:%M:%S.%f}Z")
        ticks.append(element("span", text(shown[:16]), style=f"left:{100 * quarter / _QUARTERS:.0f}%"))
    return element("div", *ticks, class_="axis")


def _legend() -> Markup:
    items = (element("li", element("span", mark(state), text(state), class_=f"state {state}")) for state in STATES)
    return element("ul", *items, class_="legend")
