"""A table of figures with both sides."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, the floor that it is measured against, and the highest ratio that we allow ourselves."""

    what: str
    ours: float
    floor: float
    unit: str
    limit: float

    @property
    def ratio(self) -> float:
        return self.ours / self.floor


def print_table(title: str, figures: list[Figure]) -> None:
    """One line a figure, with the ratio and whether it is within its limit."""
    print(f"\n{title}\n")
    print(f"  {'what':<46} {'rootswap':>12} {'floor':>12} {'ratio':>7}  limit")
    for one in figures:
        verdict = "ok" if one.ratio <= one.limit else "MISSED"
        ours, floor = (f"{value:.1f} {one.unit}" for value in (one.ours, one.floor))
        print(f"  {one.what:<46} {ours:>12} {floor:>12} {one.ratio:>7.3f}  <= {one.limit:.2f} {verdict}")
