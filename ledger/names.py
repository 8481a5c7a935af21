"""Names and identifiers: what may become part of a path, an argv or a record.

A name is checked where it enters (configuration, command line, ledger), so that no driver ever meets a slash, a blank,
``..`` or a leading dash. Identifiers are drawn at random, never from a clock: a clock that is set back must not be able
to make two things share a name.
"""

import re
import secrets
from typing import Annotated

from pydantic import AfterValidator

#: Crockford's base 32, lower case: no i, l, o, u, which people misread.
ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_LENGTH = 8
#: FreeBSD limited mount paths to 88 characters for long; short names leave room for the rest of the path.
NAME_LENGTH = 32

_NAME = re.compile(rf"[a-z0-9](?:[a-z0-9_-]|\.(?!\.)){{0,{NAME_LENGTH - 1}}}")
_ID = re.compile(rf"[{ID_ALPHABET}]{{{ID_LENGTH}}}")


def _check_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            f"{value[:60]!r} is not a usable name: 1 to {NAME_LENGTH} of a-z 0-9 . _ -, starting with a letter or digit"
        )
    return value


def _check_id(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError(f"{value[:60]!r} is not an identifier: {ID_LENGTH} of {ID_ALPHABET}")
    return value


def _check_release(value: str) -> str:
    template, at, identifier = value.partition("@")
    if not at:
        raise ValueError(f"{value[:60]!r} is not a release: a release is called TEMPLATE@ID")
    _check_name(template)
    _check_id(identifier)
    return value


def _check_target(value: str) -> str:
    kind, colon, name = value.partition(":")
    if not colon or kind not in TARGET_KINDS:
        raise ValueError(f"{value[:60]!r} is not a target: one of {', '.join(TARGET_KINDS)}, a colon and a name")
    _check_name(name)
    return value


#: What a transaction can change.
TARGET_KINDS = ("pool", "template", "release", "jail", "host")

#: A jail, a template, a volume.
Name = Annotated[str, AfterValidator(_check_name)]
#: A transaction.
TransactionId = Annotated[str, AfterValidator(_check_id)]
#: An immutable snapshot of a template, ``TEMPLATE@ID``; ID is the transaction that took it.
ReleaseName = Annotated[str, AfterValidator(_check_release)]
#: What a transaction changes, ``KIND:NAME``.
Target = Annotated[str, AfterValidator(_check_target)]


def is_name(value: str) -> bool:
    """Whether ``value`` may name a jail, a template or a volume."""
    return _NAME.fullmatch(value) is not None


def is_release(value: str) -> bool:
    """Whether ``value`` has the form ``TEMPLATE@ID``."""
    template, _, identifier = value.partition("@")
    return is_name(template) and _ID.fullmatch(identifier) is not None


def new_transaction_id() -> str:
    """A fresh identifier: 40 random bits, eight characters that people can read to each other."""
    return "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))


def template_of(release: str) -> str:
    """The template that ``release`` is a snapshot of."""
    return release.partition("@")[0]


def transaction_of(release: str) -> str:
    """The transaction that took ``release``."""
    return release.partition("@")[2]
