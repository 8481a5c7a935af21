"""Every error that rootswap raises on purpose.

The tree; the number is the exit code of the command line::

    RootswapError                 1   nothing was left half done; the former state holds
    ├── LedgerError               1
    │   ├── AppendFailed          1   the events are not in the ledger; what they announce must not run
    │   ├── IllegalEvent          1   the event does not fit the state of its transaction
    │   ├── LedgerUnusable        3   the ledger cannot be read or written; nothing may go on
    │   ├── LedgerDamaged         4   the ledger's own evidence does not add up
    │   ├── LedgerNewer           3   written by a newer rootswap
    │   ├── LedgerMissing        78   no ledger where the configuration says
    │   ├── LedgerLocked         75   another engine holds the ledger
    │   ├── TargetBusy           75   the target has an open transaction
    │   ├── UnknownTransaction    1   no transaction of that name
    │   ├── NotSealed             1   no signed checkpoint covers the record yet
    │   └── ProofRefused          4   a proof that does not prove what it says
    └── (commands.errors)             the write side's own branches

A message reads "cannot <verb> <noun>: <cause>"; the remedy, if there is one, says what to do next.
"""

from pathlib import Path


class RootswapError(Exception):
    """Base of all errors that are shown to a person as one sentence and a remedy."""

    exit_code = 1
    code = "error"
    #: What had been done before, for machines.
    details: object = None

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class LedgerError(RootswapError):
    """The ledger refused or failed."""

    code = "ledger"


class AppendFailed(LedgerError):
    """The events are certainly not in the ledger: what they announce must not run."""

    code = "append-failed"


class IllegalEvent(LedgerError):
    """The event does not fit the state of its transaction."""

    code = "illegal-event"


class LedgerUnusable(LedgerError):
    """The ledger cannot be read or written, or it is unknown whether the last append holds."""

    exit_code = 3
    code = "ledger-unusable"


class LedgerDamaged(LedgerError):
    """The ledger's own evidence does not add up: hash chain, sequence, triggers or index."""

    exit_code = 4
    code = "ledger-damaged"


class LedgerNewer(LedgerError):
    """The ledger holds a schema or an event that this version does not know."""

    exit_code = 3
    code = "ledger-newer"


class LedgerMissing(LedgerError):
    """There is no ledger where the configuration says."""

    exit_code = 78
    code = "ledger-missing"


class LedgerLocked(LedgerError):
    """Another engine holds the ledger, or, with ``holder_alive`` False, a command that a killed engine left running."""

    exit_code = 75
    code = "locked"

    def __init__(self, message: str, *, remedy: str = "", holder_alive: bool, lock_path: Path) -> None:
        super().__init__(message, remedy=remedy)
        self.holder_alive = holder_alive
        self.lock_path = lock_path


class UnknownTransaction(LedgerError):
    """There is no transaction of that name."""

    code = "unknown-transaction"


class TargetBusy(LedgerError):
    """The target already has an open transaction."""

    exit_code = 75
    code = "target-busy"


class NotSealed(LedgerError):
    """No signed checkpoint covers the record yet."""

    code = "not-sealed"


class ProofRefused(LedgerError):
    """A proof, or a checkpoint kept elsewhere, is not what it says."""

    exit_code = 4
    code = "proof-refused"
