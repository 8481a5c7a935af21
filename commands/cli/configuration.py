"""``rootswap config check`` and ``show``."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from commands.cli.options import OutputOption, config_path
from commands.cli.output import Format, Table, show

BAD_CONFIG = 78
_DEFAULT = "default"


def check(ctx: typer.Context, output: OutputOption = Format.TABLE) -> int:
    """Read the configuration and name every mistake in it.

    Example: rootswap --config ./rootswap.toml config check
    """
    from commands.config import read

    reading = read(config_path(ctx))
    mistakes = [{"file": found.file, "key": found.key, "mistake": found.text} for found in reading.mistakes]
    if not mistakes:
        text = f"no mistakes in {', '.join(reading.files)}"
        show(output, {"files": list(reading.files), "mistakes": []}, text)
        return 0
    rows = [[found.file, found.key, found.text] for found in reading.mistakes]
    show(output, {"files": list(reading.files), "mistakes": mistakes}, Table(("file", "key", "mistake"), rows))
    return BAD_CONFIG


def show_config(
    ctx: typer.Context,
    origin: Annotated[bool, typer.Option("--origin", help="Tell which file set each key.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Print the configuration as it is in force, defaults included.

    Example: rootswap config show --origin
    """
    from commands.config import load

    loaded = load(config_path(ctx))
    values = loaded.config.model_dump(mode="json", exclude_none=True)
    keys = dict(_keys(values, ()))
    origins = {path: loaded.origin.get(path, _DEFAULT) for path in keys}
    if not origin:
        show(output, values, _toml(keys, {}))
        return
    items = [{"key": ".".join(path), "value": value, "origin": origins[path]} for path, value in keys.items()]
    if output is Format.TABLE:
        show(output, items, _toml(keys, origins))
    else:
        rows = [[".".join(path), json.dumps(value), origins[path]] for path, value in keys.items()]
        show(output, items, Table(("key", "value", "origin"), rows))


def _keys(table: Mapping[str, object], at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every key that is not a table, with its place; those of a table before those of the tables in it."""
    for key, value in table.items():
        if not isinstance(value, dict):
            yield (*at, key), value
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _keys(value, (*at, key))


def _toml(keys: Mapping[tuple[str, ...], object], origins: Mapping[tuple[str, ...], str]) -> str:
    lines: list[str] = []
    table: tuple[str, ...] = ()
    for path, value in keys.items():
        if path[:-1] != table:
            table = path[:-1]
            lines += ["", f"[{'.'.join(map(_key, table))}]"]
        line = f"{_key(path[-1])} = {_value(value)}"
        lines.append(f"{line}  # {origins[path]}" if path in origins else line)
    return "\n".join(lines).lstrip("\n") + "\n"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: object) -> str:
    """A value as TOML; JSON writes strings, numbers, booleans and flat arrays of them the same way."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
