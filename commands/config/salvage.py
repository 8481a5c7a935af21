"""What can still be checked of a configuration in which some shapes are wrong, so that one does not hide the next.

What is wrong is taken out, and the rest is checked. A rule that looks at something that was taken out could find a
mistake that is none; what it finds is left out.
"""

from collections.abc import Mapping
from copy import deepcopy

from pydantic import ValidationError

from commands.config.checks import mistakes_in
from commands.config.shapes import Config

KeyPath = tuple[str, ...]

#: Tables of tables: what is wrong beyond repair is taken out as a whole, by its name.
_NAMED = 2
#: In a jail, other rules look at these.
_LOOKED_AT = ("driver", "volumes")
#: Each round takes something out; more than this are not worth the time.
_ROUNDS = 4


def mistakes_despite(merged: Mapping[str, object], error: ValidationError) -> list[tuple[KeyPath, str]]:
    """The mistakes beside those of ``error``, as far as they are certain: the key, and what is wrong with it."""
    rest = deepcopy(dict(merged))
    out: set[KeyPath] = set()
    for round_ in range(_ROUNDS):
        out |= {_take_out(rest, place, whole=round_ > 0) for place in _places(error)}
        try:
            config = Config.model_validate(rest)
        except ValidationError as again:
            error = again
            continue
        return [(key, text) for key, text in mistakes_in(config) if not _is_doubtful(key, out, config)]
    return []


def _places(error: ValidationError) -> list[KeyPath]:
    found = (tuple(str(part) for part in detail["loc"] if part != "[key]") for detail in error.errors())
    return [place for place in found if place]


def _take_out(rest: dict[str, object], place: KeyPath, *, whole: bool) -> KeyPath:
    """Delete the key, or with ``whole`` all of the named table that it is in; what was deleted."""
    keys = place[:_NAMED] if whole else place
    table = rest
    for depth, key in enumerate(keys):
        inner = table.get(key)
        if depth == len(keys) - 1 or not isinstance(inner, dict):  # a place in an array goes with the array
            table.pop(key, None)
            return keys[: depth + 1]
        table = inner
    return keys


def _is_doubtful(key: KeyPath, out: set[KeyPath], config: Config) -> bool:
    return any(_depends(key, gone, config) for gone in out)


def _depends(key: KeyPath, gone: KeyPath, config: Config) -> bool:
    """Whether the rule that speaks of ``key`` may have looked at what is ``gone``."""
    match gone:
        case ("state_directory",):
            return key[0] in ("state_directory", "storage")
        case ("storage", *_):
            return key[0] in ("storage", "state_directory") or key[2:3] == ("quotas",)
        case ("template",):
            return key[0] == "jail"
        case ("template", name) | ("template", name, "bootstrap"):
            is_of = key[0] == "jail" and key[2:] == ("template",) and config.jail[key[1]].template == name
            return is_of or key[:_NAMED] == gone[:_NAMED]
        case ("jail", name, part, *_) if part in _LOOKED_AT:
            return key[:_NAMED] == ("jail", name)
        case _:
            return len(gone) > _NAMED + 1 and key[: len(gone) - 1] == gone[:-1]
