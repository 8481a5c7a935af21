"""Checkpoints: the whole ledger up to a record in three lines, and what it takes to believe them.

The text is that of C2SP tlog-checkpoint: the origin, the number of records, the root of their Merkle tree in base64.
A *seal* is a checkpoint and its detached SSH signature (``ssh-keygen -Y sign``) over exactly that text. This module
knows texts, not tools: who signs and who checks is a parameter.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Protocol, Self

from ledger.merkle import HASH_BYTES

#: What our signatures are for; a signature over the same bytes for any other purpose is worth nothing here.
CHECKPOINT_NAMESPACE = "rootswap-checkpoint@v1"
ROTATION_NAMESPACE = "rootswap-key@v1"
#: What ssh-keygen writes, and nothing around it: it would overlook what is there.
ARMOUR = re.compile(r"-----BEGIN SSH SIGNATURE-----\n(?:[A-Za-z0-9+/=]{1,80}\n)+-----END SSH SIGNATURE-----\n")

_SIZE = re.compile(r"[1-9][0-9]{0,18}")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


class Signer(Protocol):
    """Signs with private keys that it keeps; ``key`` names one by its public half."""

    def sign(self, message: bytes, key: str, namespace: str) -> str:
        """The armoured SSH signature."""
        ...


class SignatureChecker(Protocol):
    """Checks signatures; needs no secret."""

    def is_signed(self, message: bytes, signature: str, key: str, namespace: str) -> bool:
        """Whether ``signature`` over ``message`` for ``namespace`` is by the holder of the public ``key``."""
        ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The first ``size`` records of the ledger called ``origin``, in one hash."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The checkpoint that ``text`` spells, exactly. Raises ValueError."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise ValueError("a checkpoint has three lines: origin, size, root")
        origin, size, root = lines[:3]
        if not origin or any(c.isspace() or not c.isprintable() for c in origin):
            raise ValueError("the origin of a checkpoint has no blanks")
        if not _SIZE.fullmatch(size):
            raise ValueError("the size of a checkpoint is a number from 1 on")
        try:
            hashed = base64.b64decode(root, validate=True)
        except binascii.Error as error:
            raise ValueError("the root of a checkpoint is not base64") from error
        if len(hashed) != HASH_BYTES:
            raise ValueError(f"the root of a checkpoint has {HASH_BYTES} bytes")
        found = cls(origin, int(size), hashed)
        if found.text != text:
            raise ValueError("the checkpoint is spelt in another way than ours")
        return found


@dataclass(frozen=True, slots=True)
class Seal:
    """A checkpoint and the SSH signature over its text."""

    checkpoint: Checkpoint
    signature: str

    def is_by(self, key: str, checker: SignatureChecker) -> bool:
        """Whether the holder of ``key`` has signed it."""
        is_whole = ARMOUR.fullmatch(self.signature) is not None
        return is_whole and checker.is_signed(self.checkpoint.text.encode(), self.signature, key, CHECKPOINT_NAMESPACE)


def origin_of(host_id: str, event_id: str) -> str:
    """What a ledger is called in its checkpoints, by its first record: no two ledgers of a host share that name."""
    return f"rootswap/{_NOT_IN_A_NAME.sub('-', host_id) or 'unknown'}/{event_id}"


def rotation_text(origin: str, previous: str, key: str) -> str:
    """What the holder of the key ``previous`` signs to hand over to ``key``."""
    return f"rootswap key rotation\n{origin}\n{previous}\n{key}\n"


def public_key(line: str) -> str:
    """A public key as we store it, type and base64, from a line of a .pub file. Raises ValueError."""
    words = line.split()
    if len(words) < 2 or not re.fullmatch(r"[a-z0-9.@-]{1,64}", words[0]):
        raise ValueError("a public key is a type, its bytes in base64, and a comment")
    kind, data = words[:2]
    try:
        blob = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError("the bytes of a public key are in base64") from error
    if not blob.startswith(len(kind).to_bytes(4, "big") + kind.encode()):
        raise ValueError("the bytes of the public key are of another type than it says")
    return f"{kind} {data}"


def fingerprint(key: str) -> str:
    """What ssh-keygen -l calls a public key: ``SHA256:`` and 43 characters."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
