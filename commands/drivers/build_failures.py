"""What is told of a build that failed: a sentence for the log, and its last words for the operator alone."""

import re

from commands.drivers.base import Completed, Recipe
from commands.errors import DriverError

#: How many lines of its output are told, and how many characters of each.
_LINES = 20
_CHARACTERS = 200
_TELLING = 3


def build_failure(recipe: Recipe, completed: Completed) -> DriverError:
    """The error for a recipe that was followed and ended badly.

    The message names the method, the script or archive, and the exit status or signal. The last lines of the output are
    in the remedy, which is shown and not stored: a program may print what nobody should keep.
    """
    ended = f"exit status {completed.status}" if completed.status >= 0 else f"killed by signal {-completed.status}"
    what = f"{recipe.file} ended with {ended}" if recipe.file else ended
    said = telling_lines(completed)
    cause = what if not said else f"{what}: {said}"
    return DriverError(f"cannot build the root by {recipe.method}: {cause}", remedy=_last_words(completed))


def telling_lines(completed: Completed) -> str:
    """What apt, dpkg or mmdebstrap themselves call an error, three lines at most; else the command's last words."""
    lines = _lines(completed.stderr)
    errors = list(dict.fromkeys(line for line in lines if re.match(r"(E: |dpkg: error)", line)))
    return "; ".join(errors[:_TELLING] or lines[-_TELLING:])


def _last_words(completed: Completed) -> str:
    """The last lines that were printed, one below the other: of the errors first, and of the output what has room."""
    errors = _lines(completed.stderr)[-_LINES:]
    output = _lines(completed.stdout)[-(_LINES - len(errors)) :] if len(errors) < _LINES else []
    told = [*output, *errors]
    return "\n    ".join(["it printed last:", *told]) if told else "it printed nothing"


def _lines(text: str) -> list[str]:
    printable = ("".join(c if c.isprintable() else "?" for c in line.strip()) for line in text.splitlines())
    return [line if len(line) <= _CHARACTERS else f"{line[: _CHARACTERS - 1]}…" for line in printable if line]
