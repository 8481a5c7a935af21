"""A proof file: one record, its path to the root, the checkpoint, its signature and the key. Needs no ledger.

After C2SP tlog-proof, but with an SSH signature::

    rootswap-proof@v1
    index 40
    record {"actor":…}
    <hash of the path, base64>
    …
                                        an empty line
    rootswap/<host>/<ledger>            the checkpoint, three lines
    42
    <root, base64>
                                        an empty line
    ssh-ed25519 AAAA…                   the public key
    -----BEGIN SSH SIGNATURE-----
    …
    -----END SSH SIGNATURE-----

The index counts from 0, so that of record 41 is 40. The record is the exact bytes that were hashed.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Self

from ledger.checkpoint import ARMOUR, Checkpoint, Seal, SignatureChecker, fingerprint, public_key
from ledger.codec import AnyRecord, decode_any
from ledger.errors import LedgerDamaged, ProofRefused
from ledger.merkle import HASH_BYTES, leaf_hash, root_from_inclusion

_HEADER = b"rootswap-proof@v1"
_NOT_OURS = "it is not a proof of ours, or not the whole of one"


@dataclass(frozen=True, slots=True)
class Proof:
    """That the record with these bytes was number ``index`` (from 0) of the ledger when ``seal`` was signed."""

    index: int
    record: bytes
    path: tuple[bytes, ...]
    seal: Seal
    key: str

    def format(self) -> bytes:
        """The file."""
        path = [base64.b64encode(hashed) for hashed in self.path]
        head = [_HEADER, b"index %d" % self.index, b"record " + self.record, *path]
        tail = f"\n{self.seal.checkpoint.text}\n{self.key}\n{self.seal.signature}"
        return b"".join(line + b"\n" for line in head) + tail.encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The proof in a file; raises ProofRefused."""
        try:
            head, text, signed = data.split(b"\n\n")
            header, index, record, *path = head.split(b"\n")
            key, _, signature = signed.decode("ascii").partition("\n")
            found = cls(
                index=int(index.removeprefix(b"index ")),
                record=record.removeprefix(b"record "),
                path=tuple(base64.b64decode(line, validate=True) for line in path),
                seal=Seal(Checkpoint.parse(text.decode() + "\n"), signature),
                key=public_key(key),
            )
        except (ValueError, binascii.Error) as error:
            raise _refused(_NOT_OURS) from error
        whole = header == _HEADER and ARMOUR.fullmatch(signature) and {len(each) for each in path} <= {44}
        if not whole or found.format() != data:
            raise _refused(_NOT_OURS)
        return found

    def check(self, checker: SignatureChecker, key: str | None = None) -> AnyRecord:
        """The record, if all of it is proved, by ``key`` if that is given; raises ProofRefused."""
        if key is not None and key != self.key:
            raise ProofRefused(
                f"cannot accept the proof: it is signed by {fingerprint(self.key)}, not by {fingerprint(key)}",
                remedy="give the key of that ledger; after a rotation, the one that was in use at the time",
            )
        record = self.check_tree()
        if not self.seal.is_by(self.key, checker):
            raise _refused("the signature of its checkpoint is not good")
        return record

    def check_tree(self) -> AnyRecord:
        """The record, if its path leads to the root of the checkpoint; says nothing of the signature."""
        checkpoint = self.seal.checkpoint
        if any(len(hashed) != HASH_BYTES for hashed in self.path):
            raise _refused("its path is not of hashes")
        try:
            root = root_from_inclusion(leaf_hash(self.record), self.index, checkpoint.size, self.path)
            record = decode_any(self.record)
        except (ValueError, LedgerDamaged) as error:
            raise _refused(str(error)) from error
        if root != checkpoint.root:
            raise _refused("its record is not in the tree of its checkpoint")
        if record.seq != self.index + 1:
            raise _refused(f"its record is number {record.seq}, not {self.index + 1}")
        return record


def _refused(cause: str) -> ProofRefused:
    return ProofRefused(f"cannot accept the proof: {cause}", remedy="ask for a fresh one: `rootswap audit prove`")
