"""Secrets of a jail: kept in a file of root's, read when they are needed, and never written down by us.

A plan names the file and a salted digest of its content (scrypt, RFC 7914), so that the log shows that a secret has
changed and not what it is: whoever has the log can only guess the whole file, at tens of milliseconds for each guess.
The file holds ``NAME=VALUE`` lines, the values as they stand; blank lines, and lines that begin with ``#``, are
skipped. ``@{NAME}`` in the command of the jail stands for a value.
"""

import re
import secrets
import shlex
from collections.abc import Callable, Sequence
from hashlib import scrypt

from commands.drivers.values import JailSpec, SecretFile
from commands.errors import DriverError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLACE = re.compile(r"@\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SALT_BYTES = 16
#: 16 MiB and some 50 ms: paid once for each plan, before anything is stopped.
_COST, _BLOCK, _PARALLEL, _DIGEST_BYTES = 1 << 14, 8, 1, 32
_MOST_BYTES = 64 << 10
#: To hide shorter values than this in every message would make the messages unreadable, and hide nothing.
_SHORTEST = 4

Read = Callable[[str], bytes]


class Secrets:
    """The secrets of the jails of one host, as ``read`` gives the files.

    What was digested for a plan is what the plan is carried out with: in this process a file is read once. Raises
    DriverError for a file that cannot be used; no message ever shows what it holds.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._files: dict[str, tuple[bytes, dict[str, str]]] = {}

    def reference(self, path: str, known: Sequence[SecretFile | None] = ()) -> SecretFile:
        """What a plan says of the file: the same as one of those ``known``, if its content is still the same."""
        content, _ = self._file(path)
        for one in known:
            if one is not None and one.path == path and _digest(content, one.salt) == one.digest:
                return one
        salt = secrets.token_hex(_SALT_BYTES)
        return SecretFile(path=path, salt=salt, digest=_digest(content, salt))

    def resolved(self, jail: JailSpec) -> JailSpec:
        """The jail with its secrets in its environment and its command: to be started, never to be stored."""
        values = self._values(jail)
        if not values:
            return jail
        twice = sorted(values.keys() & dict(jail.environment).keys())
        if twice:
            raise DriverError(
                f"cannot start jail {jail.name}: {twice[0]} is both in its environment and among its secrets",
                remedy="leave it out of one of the two",
            )
        command = tuple(_PLACE.sub(lambda match: _value(jail, values, match[1]), word) for word in jail.command)
        environment = tuple(sorted((*jail.environment, *values.items())))
        return jail.model_copy(update={"environment": environment, "command": command})

    def redacted(self, jail: JailSpec, text: str) -> str:
        """``text`` without the values of the jail's secrets, however a shell or Python would have quoted them."""
        spellings = {
            spelt: name
            for name, value in self._values(jail).items()
            if len(value) >= _SHORTEST
            for spelt in (value, shlex.quote(value), repr(value)[1:-1], " ".join(value.split()))
        }
        for spelt in sorted(spellings, key=len, reverse=True):
            if len(spelt) >= _SHORTEST:
                text = text.replace(spelt, f"@{{{spellings[spelt]}}}")
        return text

    def _values(self, jail: JailSpec) -> dict[str, str]:
        return {} if jail.secrets is None else self._file(jail.secrets.path)[1]

    def _file(self, path: str) -> tuple[bytes, dict[str, str]]:
        if path not in self._files:
            content = self._read(path)
            self._files[path] = (content, parsed(path, content))
        return self._files[path]


def no_file(path: str) -> bytes:
    """For a host without files."""
    raise DriverError(f"cannot read {path}: there are no files here")


def parsed(path: str, content: bytes) -> dict[str, str]:
    """The names and values in a file. Raises DriverError with the number of a line, never with the line."""
    if len(content) > _MOST_BYTES:
        raise DriverError(f"cannot use {path}: it is larger than {_MOST_BYTES >> 10} KiB")
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError:
        raise DriverError(f"cannot use {path}: it is not UTF-8") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise DriverError(
                f"cannot use {path}: line {number} is not NAME=VALUE", remedy="write one variable on each line"
            )
        if name in found:
            raise DriverError(f"cannot use {path}: line {number} says {name} a second time")
        if not value.isprintable():
            raise DriverError(f"cannot use {path}: line {number} holds a control character")
        found[name] = value
    return found


def _value(jail: JailSpec, values: dict[str, str], name: str) -> str:
    if name not in values:
        raise DriverError(
            f"cannot start jail {jail.name}: its command wants @{{{name}}}, which is not among its secrets",
            remedy="add it to the environment_file of the jail",
        )
    return values[name]


def _digest(content: bytes, salt: str) -> str:
    return scrypt(
        content, salt=bytes.fromhex(salt), n=_COST, r=_BLOCK, p=_PARALLEL, maxmem=64 << 20, dklen=_DIGEST_BYTES
    ).hex()
