"""What pydantic found wrong with the configuration, in words for the one who wrote it."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from commands.config.shapes import Config, Section

KeyPath = tuple[str, ...]


def explained(error: ValidationError) -> Iterator[tuple[KeyPath, str]]:
    """Each mistake: the key, and what is wrong with it."""
    for detail in error.errors(include_url=False):
        # Pydantic marks the key of a table, as opposed to its value, by a last part "[key]".
        path = tuple(str(part) for part in detail["loc"] if part != "[key]")
        yield path, _words(path, detail)


def _words(path: KeyPath, detail: ErrorDetails) -> str:
    match detail["type"]:
        case "extra_forbidden":
            known = _keys_beside(path)
            near = get_close_matches(path[-1], known, n=1)
            return "unknown key" + (f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(known)}")
        case "missing":
            return "it is missing"
        case "value_error":
            return str(detail["msg"]).removeprefix("Value error, ")
        case _:
            said = str(detail["msg"])
            given = detail["input"]
            shown = f", not {_shown(given)}" if isinstance(given, str | int | float | bool) else ""
            return said[:1].lower() + said[1:] + shown


def _shown(given: str | int | float | bool) -> str:
    if isinstance(given, bool):
        return str(given).lower()
    try:
        return repr(str(given)[:60])
    except ValueError:  # Python spells out no number of that length
        return "a number of thousands of digits"


def _keys_beside(path: KeyPath) -> list[str]:
    """The keys that the table around the key may have."""
    section: type[Section] = Config
    parts = list(path[:-1])
    while parts:
        field = section.model_fields.get(parts.pop(0))
        if field is None:
            break
        kinds = [field.annotation, *get_args(field.annotation)]
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)
        if inner is None:
            break
        if inner is not field.annotation and parts:
            parts.pop(0)  # the name of one of many: jail.web
        section = inner
    return sorted(section.model_fields)
