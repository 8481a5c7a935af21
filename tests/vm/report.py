"""The tables in docs/reliability.md: ``python -m tests.vm.report FILE …``, from what `make power-cuts` has noted."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.vm.cuts import Cut

_ENDS = ("committed", "rolled-back", "stuck")


@dataclass(frozen=True, slots=True)
class Noted:
    """A cut, and what was cut."""

    driver: str
    build: str
    seed: str
    cut: Cut


def noted(path: Path) -> Iterator[Noted]:
    """Every cut that a file tells of."""
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        driver, build, seed = (str(fields.pop(key)) for key in ("driver", "build", "seed"))
        fields["faults"] = tuple(fields["faults"])
        yield Noted(driver, build, seed, Cut(**fields))


def summary(cuts: Sequence[Noted]) -> str:
    """All tables."""
    sound = [one for one in cuts if one.build == "sound"]
    parts = [figures(sound), places(sound)] if sound else []
    broken = [one for one in cuts if one.build != "sound"]
    if broken:
        parts.append(caught(broken))
    return "\n\n".join(parts)


def figures(cuts: Sequence[Noted]) -> str:
    """What came of the cuts, for each storage and for all."""
    rows: list[tuple[str, Callable[[Sequence[Noted]], str]]] = [
        ("power cuts", lambda some: str(len(some))),
        ("of these, the next boot was cut as well", lambda some: str(sum(one.cut.boots > 1 for one in some))),
        ("blocks written and not flushed", lambda some: str(sum(one.cut.unflushed for one in some))),
        ("of these lost", lambda some: str(sum(one.cut.lost for one in some))),
        *((end, lambda some, end=end: str(sum(one.cut.end == end for one in some))) for end in _ENDS),
        ("**violations**", lambda some: f"**{sum(bool(one.cut.faults) for one in some)}**"),
        ("recovery, median", lambda some: f"{median(_recoveries(some)):.1f} s"),
        ("recovery, longest", lambda some: f"{max(_recoveries(some)):.1f} s"),
    ]
    columns = [*_by_driver(cuts), ("all", cuts)]
    lines = [_row(["", *(name for name, _ in columns)]), _row(["---"] * (len(columns) + 1))]
    return "\n".join(lines + [_row([title, *(told(some) for _, some in columns)]) for title, told in rows])


def places(cuts: Sequence[Noted]) -> str:
    """After which record the power went, and how the transaction ended."""
    fell = Counter(one.cut.after for one in cuts)
    lines = [_row(["the last acknowledged record", "cuts", *_ENDS]), _row(["---"] * 5)]
    for place in sorted(fell):
        ends = Counter(one.cut.end for one in cuts if one.cut.after == place)
        lines.append(_row([f"`{place}`", str(fell[place]), *(str(ends[end]) for end in _ENDS)]))
    return "\n".join(lines)


def caught(cuts: Sequence[Noted]) -> str:
    """After how many cuts each broken build was caught, and by what."""
    lines = [_row(["broken build", "storage", "seed", "caught at cut", "by"]), _row(["---"] * 5)]
    for one in cuts:
        if one.cut.faults:
            by = one.cut.faults[0].splitlines()[0].partition(": ")[0]
            lines.append(_row([f"`{one.build}`", one.driver, one.seed, str(one.cut.number), by]))
    return "\n".join(lines)


def _recoveries(cuts: Sequence[Noted]) -> list[float]:
    """In seconds; of guests that could be looked at."""
    return [one.cut.recovery_s for one in cuts if one.cut.end != "unknown"] or [0.0]


def _by_driver(cuts: Sequence[Noted]) -> list[tuple[str, Sequence[Noted]]]:
    return [(driver, [one for one in cuts if one.driver == driver]) for driver in sorted({one.driver for one in cuts})]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(summary([one for name in sys.argv[1:] for one in noted(Path(name))]))
