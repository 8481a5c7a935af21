"""Reads the configuration: finds its files, merges them, and says of every mistake in which file it stands.

Later files win, table by table and key by key; an array is replaced as a whole. Without a path given, the files are
those of the platform, in this order (Linux; FreeBSD has the middle two, under /usr/local/etc)::

    /usr/lib/rootswap/conf.d/*.toml  <  /etc/rootswap/rootswap.toml  <  /etc/rootswap/conf.d/*.toml
    <  /run/rootswap/conf.d/*.toml
"""

import os
import re
import stat
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from commands.config.checks import mistakes_in
from commands.config.misspelt import explained
from commands.config.salvage import mistakes_despite
from commands.config.shapes import Config
from commands.errors import ConfigError

#: The place of a key: the names of the tables that it is in, and its own.
KeyPath = tuple[str, ...]

_MAIN = "rootswap.toml"
_FRAGMENTS = "conf.d"
_AT_LINE = re.compile(r"\s*\(at line (\d+), column \d+\)$")
_OTHERS_WRITE = 0o022
_STICKY = 0o1000
_MOST_BYTES = 1 << 20
#: The control characters of Unicode; U+0085 ends a line as well.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong, at which key, in which file; None where no file has it."""

    file: str | None
    key: str
    text: str

    def __str__(self) -> str:
        """As one clause."""
        return ": ".join(part for part in (self.file, self.key, self.text) if part)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found: the configuration, or why there is none. ``origin`` tells which file set a key."""

    files: tuple[str, ...]
    origin: Mapping[KeyPath, str]
    config: Config | None
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration without mistakes, and which file set each key."""

    config: Config
    files: tuple[str, ...]
    origin: Mapping[KeyPath, str]


def load(given: str | None = None) -> Loaded:
    """The configuration at ``given`` (a file, or a directory), or at the usual place. Raises ConfigError."""
    reading = read(given)
    if reading.config is None or reading.mistakes:
        first, *others = reading.mistakes
        more = f" (and {len(others)} more)" if others else ""
        raise ConfigError(f"cannot use the configuration: {first}{more}", remedy="see `rootswap config check`")
    return Loaded(reading.config, reading.files, reading.origin)


def read(given: str | None = None) -> Reading:
    """Read and check, and report mistakes rather than raise them. Raises ConfigError for a file that cannot be read."""
    files = find(given)
    merged: dict[str, object] = {}
    origin: dict[KeyPath, str] = {}
    for file in files:
        _merge(merged, _parse(file), file, (), origin)
    _fill_in(merged)
    unprintable = [*_controls(merged, ())]
    if unprintable:
        return Reading(files, origin, None, _located(unprintable, origin))
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        found = [*explained(error), *mistakes_despite(merged, error)]
        return Reading(files, origin, None, _located(found, origin))
    return Reading(files, origin, config, _located(mistakes_in(config), origin))


def find(given: str | None) -> tuple[str, ...]:
    """The files, first to last. Raises ConfigError when there is none, or when others can write to one."""
    if given is None:
        files = _usual()
        if not files:
            main = f"{_etc()}/{_MAIN}"
            raise ConfigError(
                f"cannot find the configuration: there is no {main}", remedy=f"write {main}, or use --config"
            )
    elif os.path.isdir(given):
        files = [path for path in (f"{given}/{_MAIN}",) if os.path.exists(path)] + _toml_files(f"{given}/{_FRAGMENTS}")
        if not files:
            raise ConfigError(f"cannot find the configuration: there is no {_MAIN} in {given}", remedy="see --config")
    else:
        files = [given]
    if os.geteuid() == 0:
        for file in files:
            _require_trusted(file)
    return tuple(files)


def _etc() -> str:
    return "/usr/local/etc/rootswap" if sys.platform.startswith("freebsd") else "/etc/rootswap"


def _fill_in(merged: dict[str, object]) -> None:
    """The places that are others on FreeBSD, see hier(7): there /var/lib does not exist."""
    if _etc() == "/etc/rootswap":
        return
    merged.setdefault("state_directory", "/var/db/rootswap")
    storage = merged.setdefault("storage", {})
    if isinstance(storage, dict):
        storage.setdefault("path", "/var/db/rootswap/pool")


def _usual() -> list[str]:
    etc = _etc()
    main = [path for path in (f"{etc}/{_MAIN}",) if os.path.exists(path)]
    if etc != "/etc/rootswap":
        return main + _toml_files(f"{etc}/{_FRAGMENTS}")
    vendor, runtime = (_toml_files(f"{base}/rootswap/{_FRAGMENTS}") for base in ("/usr/lib", "/run"))
    return vendor + main + _toml_files(f"{etc}/{_FRAGMENTS}") + runtime


def _toml_files(directory: str) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(directory, error) from error
    return [f"{directory}/{name}" for name in names if name.endswith(".toml") and not name.startswith(".")]


def _parse(file: str) -> dict[str, object]:
    content = _content(file)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"cannot read {file}: line {line}: not UTF-8", remedy="save the file as UTF-8") from error
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a TOMLDecodeError, or a number of thousands of digits
        said = str(error)
        place = _AT_LINE.search(said)
        line = int(place[1]) if place else text.count("\n") + 1
        cause = _AT_LINE.sub("", said).removesuffix(" (at end of document)")
        cause = cause[:1].lower() + cause[1:]
        raise ConfigError(
            f"cannot read {file}: line {line}: {cause}", remedy="correct the TOML at that line"
        ) from error


def _content(file: str) -> bytes:
    """What a file holds; whatever else has its name (a pipe, a device) is not waited for."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(descriptor, "rb") as opened:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError(f"cannot read {file}: it is not a regular file", remedy="see --config")
            content = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise _unreadable(file, error) from error
    if len(content) > _MOST_BYTES:
        raise ConfigError(
            f"cannot read {file}: it has more than {_MOST_BYTES >> 20} MiB; no configuration is as large",
            remedy="see --config",
        )
    return content


def _unreadable(file: str, error: OSError) -> ConfigError:
    remedy = "run it as root" if isinstance(error, PermissionError) else "see --config"
    cause = (error.strerror or str(error)).lower()
    return ConfigError(f"cannot read {file}: {cause}", remedy=remedy)


def _merge(
    into: dict[str, object], new: Mapping[str, object], file: str, at: KeyPath, origin: dict[KeyPath, str]
) -> None:
    for key, value in new.items():
        path = (*at, key)
        present = into.get(key)
        if isinstance(value, dict) and isinstance(present, dict):
            _merge(present, value, file, path, origin)
        elif isinstance(value, dict):
            table: dict[str, object] = {}
            into[key] = table
            origin[path] = file
            _merge(table, value, file, path, origin)
        else:
            into[key] = value
            origin[path] = file


def _controls(value: object, at: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Every key and text with a control character: none belongs into a command, a path or the file of a tool."""
    match value:
        case str() if found := _CONTROL.search(value):
            yield at, f"it has the control character {found[0]!r}; write no more than one line of plain text"
        case Mapping():
            for key, inner in value.items():
                if found := _CONTROL.search(key):
                    yield (*at, key), f"the key has the control character {found[0]!r}"
                yield from _controls(inner, (*at, key))
        case list():
            for inner in value:
                yield from _controls(inner, at)
        case _:
            pass


def _located(found: Sequence[tuple[KeyPath, str]], origin: Mapping[KeyPath, str]) -> tuple[Mistake, ...]:
    return tuple(Mistake(origin_of(path, origin), dotted(path), text) for path, text in found)


def origin_of(path: KeyPath, origin: Mapping[KeyPath, str]) -> str | None:
    """The file that set the key, or the nearest table around it."""
    return next((origin[path[:n]] for n in range(len(path), 0, -1) if path[:n] in origin), None)


def dotted(path: KeyPath) -> str:
    """A key as TOML writes it."""
    return ".".join(key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _quoted(key) for key in path)


def _quoted(key: str) -> str:
    return repr(key[:60]).replace("'", '"')


def _require_trusted(file: str) -> None:
    """Raise ConfigError if anybody but root can change ``file`` or exchange it for another: we obey it as root."""
    try:
        real = os.path.realpath(file)
    except OSError as error:  # a relative path, and the working directory is gone
        raise _unreadable(file, error) from error
    places = [real]
    while places[-1] != "/":
        places.append(os.path.dirname(places[-1]))
    for place in places:
        try:
            found = os.stat(place)
        except OSError as error:
            raise _unreadable(file, error) from error
        # In a sticky directory such as /tmp nobody can replace what belongs to root.
        is_guarded = place != real and found.st_mode & _STICKY
        if found.st_uid != 0 or (found.st_mode & _OTHERS_WRITE and not is_guarded):
            raise ConfigError(
                f"cannot trust {file}: others than root can change {place}",
                remedy=f"chown root {place}; chmod go-w {place}",
            )
