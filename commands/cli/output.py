"""What the command line prints: results on stdout in the format asked for, all else on stderr.

``show`` prints the result of a verb, ``stream`` one record of many, ``note`` a line for people beside the result. A
pipe that was closed or a terminal that went away is no error: ``show`` and ``note`` fall silent, ``stream`` says so.
A result that is lost on a full disk is one. Light on purpose: every command imports it.
"""

import errno
import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TextIO

from commands.cli.plain import harmless
from commands.errors import OutputLost

SCHEMA = "rootswap/1"

#: What writing meets where there is no room.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_COLOUR = re.compile(r"\x1b\[\d*m")
_GAP = "  "
#: The width of a terminal that does not tell one.
_NO_LIMIT = 1 << 30


class Format(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"


Cell = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns; numbers are set flush right. ``empty`` is printed to people instead of a table of no rows."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    empty: str = "nothing to show"


# --- results ----------------------------------------------------------------------------------------------------------


def show(format: Format, data: object, table: Table | str) -> None:
    """Print a result: ``data`` (JSON-able) for machines, ``table`` (or plain text) for people, CSV and TSV."""
    match format:
        case Format.JSON:
            _write(envelope(data))
        case Format.JSONL:
            items = data if isinstance(data, list | tuple) else [data]
            _write("".join(f"{compact(item)}\n" for item in items))
        case Format.CSV | Format.TSV:
            from commands.cli.separated import separated

            _write(separated(format, data, table))
        case Format.TABLE:
            text = harmless(table) if isinstance(table, str) else fitted(table)
            _write(text if not text or text.endswith("\n") else text + "\n")


def show_error(format: Format, code: str, message: str, remedy: str, data: object = None) -> None:
    """Print a failure: the envelope on stdout for JSON, and a sentence with its remedy on stderr otherwise.

    ``data`` is what was done nevertheless.
    """
    if format in (Format.JSON, Format.JSONL):
        error = {"code": code, "message": message, "hint": remedy or None}
        with suppress(OutputLost):  # it is told as if nothing but stderr had been asked for
            _write(envelope(data, error=error, is_compact=format is Format.JSONL))
            return
    note(paint(f"rootswap: {message}", "red", sys.stderr))
    if remedy:
        note(f"  remedy: {remedy}")


def envelope(data: object, *, error: object = None, is_compact: bool = False) -> str:
    """The one JSON object that a command prints, with a newline."""
    whole = {"schema": SCHEMA, "ok": error is None, "data": data, "error": error}
    return (compact(whole) if is_compact else json.dumps(whole, indent=2, ensure_ascii=False)) + "\n"


def stream(format: Format, data: object, line: str) -> bool:
    """Print one record of many at once: ``line`` to people, else ``data`` as a JSON line. False: nobody listens."""
    return _write(f"{harmless(line) if format in (Format.TABLE, Format.CSV, Format.TSV) else compact(data)}\n")


def note(text: str) -> None:
    """Print a line for people on stderr; never fails."""
    with suppress(OSError):
        _put(sys.stderr, f"{harmless(text)}\n")


def write_raw(file: TextIO, text: str) -> None:
    """Write ``text`` as it is, for a live line; never fails."""
    with suppress(OSError):
        _put(file, text)


# --- words ------------------------------------------------------------------------------------------------------------


def local_time(at: str, *, is_precise: bool = False) -> str:
    """A stored UTC moment in the time of this place, with its offset: ``2026-11-23 22:18:05+01:00``."""
    try:
        moment = datetime.fromisoformat(at).astimezone()
    except ValueError:
        return at
    return moment.isoformat(sep=" ", timespec="milliseconds" if is_precise else "seconds")


def duration(nanoseconds: int | None) -> str:
    """A length of time in the unit that reads best; a dash for none."""
    if nanoseconds is None:
        return "-"
    seconds = nanoseconds / 1e9
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def milliseconds(nanoseconds: int | None) -> str:
    """A downtime, always in the same unit so that two can be compared; a dash for none."""
    return "-" if nanoseconds is None else f"{nanoseconds / 1e6:.0f} ms"


def size(count: int | None) -> str:
    """A number of bytes in binary units; a dash for none."""
    if count is None:
        return "-"
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def paint(text: str, colour: str, file: TextIO) -> str:
    """``text`` in a colour (bold, dim, red, green, yellow), if ``file`` is a terminal that wants any."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if is_coloured(file) else text


def is_coloured(file: TextIO) -> bool:
    """Whether ``file`` is a terminal that takes colours and nobody has asked for none."""
    return is_terminal(file) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def is_terminal(file: TextIO | None) -> bool:
    """Whether a person looks at ``file``."""
    try:
        return file is not None and file.isatty()
    except (OSError, ValueError):
        return False


def fitted(table: Table) -> str:
    """The table as people read it; on a terminal that is too narrow for it, each row becomes lines of its own."""
    text = aligned(table)
    if table.rows and max(map(len, _COLOUR.sub("", text).splitlines())) > line_width():
        return _stacked(table)
    return text


def aligned(table: Table) -> str:
    """A heading and columns as wide as they need: a line for each row, however narrow the terminal is."""
    if not table.rows:
        return table.empty + "\n"
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    heading = [column.upper() for column in table.columns]
    widths = [max(len(row[n]) for row in [heading, *rows]) for n in range(len(heading))]
    numeric = [all(isinstance(row[n], int | float | None) for row in table.rows) for n in range(len(heading))]
    lines = []
    for number, row in enumerate([heading, *rows]):
        cells = [c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric, strict=True)]
        line = _GAP.join(cells).rstrip()
        lines.append(paint(line, "bold", sys.stdout) if number == 0 else line)
    return "\n".join(lines) + "\n"


def _stacked(table: Table) -> str:
    """A line for each cell; what is not there is left out."""
    width = max(map(len, table.columns))
    blocks = []
    for row in table.rows:
        pairs = [(name, _cell(cell)) for name, cell in zip(table.columns, row, strict=True) if cell is not None]
        names = [paint(name.upper().ljust(width), "bold", sys.stdout) for name, _ in pairs]
        blocks.append("".join(f"{name}{_GAP}{cell}\n" for name, (_, cell) in zip(names, pairs, strict=True)))
    return "\n".join(blocks)


def line_width() -> int:
    """How long a line of the result may be: no longer than the terminal is wide, if a person looks at one."""
    try:
        return (is_terminal(sys.stdout) and os.get_terminal_size(sys.stdout.fileno()).columns) or _NO_LIMIT
    except (OSError, ValueError):
        return _NO_LIMIT


# --- the two streams --------------------------------------------------------------------------------------------------


def _write(text: str) -> bool:
    """Print on stdout; False when nobody listens. Raises OutputLost when there is no room for it."""
    try:
        return _put(sys.stdout, text)
    except OSError as error:
        raise lost(error) from error


def _put(file: TextIO | None, text: str) -> bool:
    """Print on ``file``; False when nobody listens. Raises OSError when there is no room for it."""
    if file is None:
        return False
    try:
        try:
            file.write(text)
        except UnicodeEncodeError:
            file.write(text.encode(file.encoding, "backslashreplace").decode(file.encoding))
        file.flush()
    except (OSError, ValueError) as error:
        # The pipe is closed, the terminal is gone, or the descriptor never was open: Python must not try again at exit.
        silence(file)
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        return False
    return True


def lost(error: OSError) -> OutputLost:
    """What is said of a result that there was no room for."""
    return OutputLost(
        f"cannot print the result: {(error.strerror or str(error)).lower()}",
        remedy="what was done is done; free some space and look with `rootswap status`",
    )


def silence(file: TextIO) -> None:
    """Let ``file`` lead nowhere from now on."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, file.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass


def _cell(value: Cell) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case _:
            return "".join(c if c.isprintable() else "?" for c in str(value))


def compact(data: object) -> str:
    """JSON in one line."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)
