"""The benchmark of the ledger runs, on a small one: its figures say nothing, its sides are all there."""

from pathlib import Path

import pytest

from tests.benchmarks.ledgers import measure
from tests.benchmarks.table import print_table


def test_the_benchmark_of_the_ledger_measures_both_sides(
    fast_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = list(measure(1_500, fast_directory, rounds=1))
    figures = [figure for _, found in tables for figure in found]
    assert len(figures) == 34
    assert all(figure.ours > 0 and figure.floor > 0 for figure in figures)
    for title, found in tables:
        print_table(title, found)
    assert capsys.readouterr().out.count("<=") == len(figures)
