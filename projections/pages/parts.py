"""What pages are made of: states, tables, facts and figures."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from projections.pages.markup import Markup, element, joined, text, words
from projections.questions import Cell, Row

#: The outline of the mark of each state, in a square of 14: never colour alone.
_MARKS = {
    "committed": Markup('<circle cx="7" cy="7" r="5.5" stroke="none"/>'),
    "rolled-back": Markup('<path d="M7 1 L13 12.5 H1 Z" stroke="none"/>'),
    "rejected": Markup('<path d="M2 2 L12 12 M12 2 L2 12" fill="none" stroke-width="2.5"/>'),
    "stuck": Markup('<rect x="1.5" y="1.5" width="11" height="11" stroke="none"/>'),
    "open": Markup('<circle cx="7" cy="7" r="5" fill="none" stroke-width="2.5"/>'),
}
STATES = tuple(_MARKS)
When = Callable[[str], str]


class Column(NamedTuple):
    """A column of a table: the heading, what stands in it, and whether it is a number."""

    heading: str
    cell: Callable[[Row], Cell]
    is_number: bool = False


def look_of(state: Cell) -> str:
    """How a state is drawn: all that has not ended and is not stuck is open."""
    return state if isinstance(state, str) and state in _MARKS else "open"


def mark(state: Cell) -> Markup:
    """The mark of a state."""
    return element("svg", _MARKS[look_of(state)], viewBox="0 0 14 14", aria_hidden="true")


def state_word(state: Cell) -> Markup:
    """A state: mark, word and colour."""
    return element("span", mark(state), text(str(state)), class_=f"state {look_of(state)}")


def table(rows: Sequence[Row], columns: Sequence[Column], empty: str) -> Markup:
    """A table; on a narrow screen each row becomes lines of its own."""
    if not rows:
        return element("p", text(empty), class_="soft")
    head = (element("th", text(c.heading), class_="n" if c.is_number else None, scope="col") for c in columns)
    body = (element("tr", *(_cell(row, column) for column in columns)) for row in rows)
    whole = element("table", element("thead", element("tr", *head)), element("tbody", *body), class_="stacked")
    return element("div", whole, class_="scroll")


def _cell(row: Row, column: Column) -> Markup:
    value = column.cell(row)
    shown = state_word(value) if column.heading == "state" else text("–" if value is None else str(value))
    return element("td", element("span", shown), class_="n" if column.is_number else None, data_label=column.heading)


def facts(pairs: Sequence[tuple[str, str | None]]) -> Markup:
    """Names and what they stand for; what is not known is left out."""
    return element(
        "dl", *(joined(words("dt", name), words("dd", said)) for name, said in pairs if said), class_="facts"
    )


def figures(pairs: Sequence[tuple[str, str]]) -> Markup:
    """The few numbers that sum it up."""
    boxes = (element("div", words("dt", name), words("dd", number), class_="figure") for name, number in pairs)
    return element("dl", *boxes, class_="card figures")


def length(nanoseconds: Cell) -> str:
    """A length of time in the unit that reads best; a dash for none."""
    if not isinstance(nanoseconds, int):
        return "–"
    if nanoseconds < 1_000_000_000:
        thousandths = nanoseconds / 1e6
        return f"{thousandths:.1f} ms" if thousandths < 10 else f"{thousandths:.0f} ms"
    seconds = nanoseconds / 1e9
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
