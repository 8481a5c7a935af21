"""What signatures say of a ledger whose records were recomputed, and what was kept elsewhere says."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from ledger.checkpoint import ROTATION_NAMESPACE, Checkpoint, Seal, SignatureChecker, fingerprint, rotation_text
from ledger.errors import LedgerDamaged
from ledger.events import KeyRotated, LedgerCreated
from ledger.rows import damaged
from ledger.seals import seal_damaged


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a ledger is held against.

    ``seals`` and ``checkpoints`` were kept elsewhere: the first have to be signed by the ledger's key, the second are
    believed for where they come from. ``pinned`` is a public key that the ledger must have had. Of the ledger's own
    seals, the last of each key is checked, for it covers all records before it; with ``every_signature``, all are.
    """

    checker: SignatureChecker
    seals: tuple[Seal, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    pinned: str | None = None
    every_signature: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes at which the root of the tree is asked for."""
        return tuple(kept.size for kept in (*(seal.checkpoint for seal in self.seals), *self.checkpoints))


@dataclass(frozen=True, slots=True)
class Vouched:
    """Records 1 to ``sealed`` are under a signature by ``key``; the ``tail`` after them is not."""

    sealed: int
    tail: int
    key: str
    seals: int
    signatures: int


@dataclass(slots=True)
class Found:
    """What the records say: the name of the ledger, its keys, and the roots at the sizes that were asked for.

    ``sound`` are the sizes of the stored checkpoints that are, to the letter, what the records say.
    """

    origin: str = ""
    keys: list[tuple[int, KeyRotated | LedgerCreated]] = field(default_factory=list)
    roots: dict[int, bytes] = field(default_factory=dict)
    sound: set[int] = field(default_factory=set)

    def key_at(self, size: int) -> str | None:
        """The public key that signs checkpoints of ``size`` records."""
        place = bisect_right(self.keys, size, key=lambda each: each[0])
        return self.keys[place - 1][1].key if place else None


def newest_of_each_key(sizes: Sequence[int], found: Found) -> list[int]:
    """Of the ascending ``sizes`` of seals, the last that each key has signed."""
    return sorted({found.key_at(size): size for size in sizes}.values())


def require_sound(end: int, doubtful: Sequence[Seal], found: Found) -> None:
    """Raise LedgerDamaged for the first stored seal that is not what the records say."""
    for seal in doubtful:
        size = seal.checkpoint.size
        _compare(seal.checkpoint, end, found, max((sound for sound in found.sound if sound < size), default=0))


def require_vouched(
    end: int, count: int, stored: Sequence[Seal], found: Found, evidence: Evidence | None
) -> Vouched | None:
    """Hold the signatures of ``stored``, which are sound and of ``count`` in all, and all of ``evidence`` against it.

    Raises LedgerDamaged.
    """
    if evidence is None:
        return None
    for checkpoint in sorted(evidence.checkpoints, key=lambda one: one.size):
        _compare(checkpoint, end, found, 0)
    for seal in evidence.seals:
        _compare(seal.checkpoint, end, found, 0)
    _check_rotations(found, evidence.checker)
    seals = sorted([*stored, *evidence.seals], key=lambda seal: seal.checkpoint.size)
    if not seals:
        raise LedgerDamaged(
            f"cannot vouch for the ledger: none of its {end} records is under a signed checkpoint",
            remedy="run `rootswap audit checkpoint`; if there were checkpoints before, somebody has removed them",
        )
    checked = seals if evidence.every_signature else _last_of_each_key(seals, found, evidence.seals)
    for seal in checked:
        _check_signature(seal, found, evidence.checker)
    sealed = seals[-1].checkpoint.size
    _check_pinned(sealed, found, evidence.pinned)
    key = found.key_at(sealed)
    if key is None:
        raise seal_damaged(sealed, "the ledger names no key")
    return Vouched(sealed, end - sealed, key, count, len(checked))


def _compare(checkpoint: Checkpoint, end: int, found: Found, good: int) -> None:
    size = checkpoint.size
    if checkpoint.origin != found.origin:
        raise seal_damaged(size, f"it is of another ledger, {checkpoint.origin}, not {found.origin}")
    if size > end:
        raise damaged(end + 1, f"it is missing, but a checkpoint of {size} records was signed")
    if checkpoint.root != found.roots.get(size):
        among = f"the first false one is among {good + 1} to {size}" if good else f"one of 1 to {size} is false"
        raise seal_damaged(size, f"the records are not those that it was signed for; {among}")


def _check_rotations(found: Found, checker: SignatureChecker) -> None:
    before: str | None = None
    for seq, event in found.keys:
        if isinstance(event, KeyRotated):
            if event.previous != before:
                raise damaged(seq, "it hands over a key that was not in force")
            if before is not None:
                text = rotation_text(found.origin, before, event.key).encode()
                if event.signature is None or not checker.is_signed(text, event.signature, before, ROTATION_NAMESPACE):
                    raise damaged(seq, "the new key was not signed by the one before it")
        before = event.key


def _last_of_each_key(seals: Sequence[Seal], found: Found, always: Sequence[Seal]) -> list[Seal]:
    newest = {found.key_at(seal.checkpoint.size): seal for seal in seals}
    return [*newest.values(), *(seal for seal in always if seal not in newest.values())]


def _check_signature(seal: Seal, found: Found, checker: SignatureChecker) -> None:
    size = seal.checkpoint.size
    key = found.key_at(size)
    if key is None:
        raise seal_damaged(size, "the ledger names no key that could have signed it")
    if not seal.is_by(key, checker):
        raise seal_damaged(size, f"it was not signed by the key of the ledger, {fingerprint(key)}")


def _check_pinned(sealed: int, found: Found, pinned: str | None) -> None:
    """The given key must have been in force by the last seal: from there on, each key is vouched for by the former."""
    if pinned is None or any(event.key == pinned for seq, event in found.keys if seq <= sealed):
        return
    raise LedgerDamaged(
        f"cannot vouch for the ledger: {fingerprint(pinned)} was never its key",
        remedy="the ledger was made anew with another key, or this is the key of another ledger",
    )
