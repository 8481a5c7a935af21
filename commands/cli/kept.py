"""What was kept of the ledger elsewhere, and what its keys have kept: checkpoints, signatures, public keys."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from commands.config import Config
    from ledger.checkpoint import Checkpoint, Seal
    from ledger.verify import VerifyReport


def content(file: str) -> bytes:
    """What is in a file that the command line names. Raises UsageError."""
    from commands.drivers.host import LocalHost
    from commands.errors import DriverError, UsageError

    try:
        return LocalHost().read(file)
    except DriverError as error:
        raise UsageError(error.message, remedy="name a file that is there") from error


def checkpoint(file: str) -> "Checkpoint":
    """The checkpoint in ``file``. Raises UsageError."""
    from commands.drivers.host import LocalHost
    from commands.errors import UsageError
    from ledger.checkpoint import Checkpoint

    try:
        return Checkpoint.parse(LocalHost().read(file).decode())
    except ValueError as error:
        raise UsageError(f"cannot use checkpoint {file}: {error}") from error


def seal(file: str) -> "Seal":
    """The checkpoint in ``file`` with the signature beside it. Raises UsageError."""
    from commands.drivers.host import LocalHost
    from ledger.checkpoint import Seal

    return Seal(checkpoint(file), LocalHost().read(f"{file}.sig").decode("ascii", "replace"))


def public(file: str) -> str:
    """The public key in ``file``. Raises UsageError."""
    from commands.errors import UsageError
    from ledger.checkpoint import public_key

    try:
        return public_key(content(file).decode())
    except ValueError as error:
        raise UsageError(f"cannot use the public key {file}: {error}", remedy="give a .pub file") from error


def signed_last(config: "Config") -> "tuple[Checkpoint, ...]":
    """What the keys of this host have signed last: known apart from the ledger, while nobody tampers with both.

    Raises LedgerDamaged for what is no checkpoint any more: it is evidence, and was written whole.
    """
    from commands.drivers.host import LocalHost
    from commands.errors import UsageError
    from ledger.errors import LedgerDamaged

    directory = config.keys_directory
    found = []
    for name in LocalHost().entries(directory):
        if not name.endswith(".signed"):
            continue
        try:
            found.append(checkpoint(f"{directory}/{name}"))
        except UsageError as error:
            raise LedgerDamaged(
                f"cannot trust the ledger: what a key signed last is damaged: {error.message}",
                remedy="hold the ledger against a checkpoint kept elsewhere: move that file away, then "
                "`rootswap audit verify --since FILE`",
            ) from error
    return tuple(found)


def is_remembered(config: "Config", report: "VerifyReport") -> bool:
    """Whether the key in force has kept what it signed last."""
    from commands.drivers.host import LocalHost
    from commands.drivers.signing import SshKeys

    if report.vouched is None:
        return False
    return SshKeys(LocalHost(), config.keys_directory).signed_last(report.vouched.key) is not None
