"""Downtime, drawn to scale: the width of a bar is its downtime, and so is that of each part of it."""

from collections.abc import Sequence

from projections.pages.markup import Markup, element, text, words
from projections.pages.parts import length
from projections.questions import Cell, Row

#: The shares by column, and what people call them.
SHARES = {
    "stop_ns": "stop",
    "snapshot_ns": "snapshot",
    "remount_ns": "remount",
    "start_ns": "start",
    "health_ns": "health",
    "undo_ns": "undo",
    "other_ns": "other",
}
_TICKS = 5


def nice_step(most_ns: int) -> int:
    """A step of 1, 2 or 5 times a power of ten, so that at most five of them reach ``most_ns``."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if step * factor * _TICKS >= most_ns:
                return step * factor
        step *= 10


def end_of_scale(most_ns: int) -> int:
    """The end of the scale for downtimes of up to ``most_ns``: a whole number of steps."""
    step = nice_step(max(1, most_ns))
    return -(-max(1, most_ns) // step) * step


def axis(end_ns: int) -> Markup:
    """The scale over the bars."""
    step = nice_step(end_ns)
    ticks = (
        element("span", text(length(at) if at else "0"), style=f"left:{100 * at / end_ns:.4f}%")
        for at in range(0, end_ns + 1, step)
    )
    return element(
        "div",
        element("span"),
        element("div", *ticks, class_="axis"),
        element("span"),
        class_="scale",
        aria_hidden="true",
    )


def bar(row: Row, end_ns: int) -> Markup:
    """The bar of one change; an empty track where nothing was down."""
    downtime_ns = row["downtime_ns"]
    grid = f"background:linear-gradient(to right,var(--grid) 1px,transparent 1px) 0 0/{_tick_share(end_ns):.4f}% 100%"
    if not isinstance(downtime_ns, int):
        return element("div", class_="track", style=grid, role="img", aria_label="no downtime was measured")
    parts = [(name, row[column]) for column, name in SHARES.items()]
    segments = [
        element("i", class_=f"s-{name}", style=f"flex-grow:{share}") for name, share in parts if _is_some(share)
    ]
    said = ", ".join(f"{name} {length(share)}" for name, share in parts if _is_some(share))
    width = f"width:{100 * downtime_ns / end_ns:.6f}%"
    drawn = element(
        "div", *(segments or [element("i", class_="s-other", style="flex-grow:1")]), class_="bar", style=width
    )
    label = f"down for {length(downtime_ns)}" + (f": {said}" if said else "")
    return element(
        "div", drawn, class_="track", style=grid, role="img", aria_label=label, title=label,
        data_downtime_ns=str(downtime_ns), data_scale_ns=str(end_ns),
    )  # fmt: skip


def share_bar(shares: dict[str, int], total_ns: int) -> Markup | None:
    """All downtime of a target by step, and the legend that explains the colours of all bars."""
    if not total_ns:
        return None
    named = [(SHARES[column], share) for column, share in shares.items() if share]
    segments = (element("i", class_=f"s-{name}", style=f"flex-grow:{share}") for name, share in named)
    said = ", ".join(f"{name} {_percent(share, total_ns)}" for name, share in named)
    drawn = element("div", *segments, class_="bar", style="height:12px;margin-bottom:8px", role="img", aria_label=said)
    return element("div", drawn, legend([(name, _percent(share, total_ns)) for name, share in named]))


def legend(named: Sequence[tuple[str, str]]) -> Markup:
    """The colours and what they stand for."""
    items = (
        element("li", element("i", class_=f"s-{name}"), text(f"{name} "), words("b", said)) for name, said in named
    )
    return element("ul", *items, class_="legend")


def _percent(share: int, total: int) -> str:
    return f"{100 * share / total:.0f} %" if 200 * share >= total else "< 1 %"


def _tick_share(end_ns: int) -> float:
    return 100 * nice_step(end_ns) / end_ns


def _is_some(share: Cell) -> bool:
    return isinstance(share, int) and share > 0
