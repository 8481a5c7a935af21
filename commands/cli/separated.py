"""CSV and TSV: what ``output`` prints for spreadsheets, and loads for nothing else."""

import csv
import io
from collections.abc import Mapping

from commands.cli.output import Cell, Format, Table, compact
from projections.cells import guarded


def separated(format: Format, data: object, table: Table | str) -> str:
    """The table, or where there is none the data as keys and values, in lines that a spreadsheet can read."""
    if isinstance(table, str):
        table = _pairs(data)
    text = io.StringIO()
    delimiter = "," if format is Format.CSV else "\t"
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([_separate_cell(cell) for cell in row] for row in table.rows)
    return text.getvalue()


def _separate_cell(cell: Cell) -> Cell:
    return "" if cell is None else guarded(cell) if isinstance(cell, str) else cell


def _pairs(data: object) -> Table:
    """A result without a table of its own, as key and value."""
    if not isinstance(data, Mapping):
        return Table(("value",), [[str(data)]])
    return Table(
        ("key", "value"),
        [[str(k), v if isinstance(v, str | int | float | None) else compact(v)] for k, v in data.items()],
    )
