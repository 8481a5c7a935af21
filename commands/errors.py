"""The write side's errors; the trunk of the tree is in ledger.errors.

::

    RootswapError                 1
    ├── Refused                   1   preflight said no; nothing was touched
    ├── TransactionFailed         1   failed and rolled back: the former state holds
    ├── TransactionIsStuck        3   a person must decide: rootswap resolve
    ├── DriverError               1   a tool of the host failed
    │   ├── ToolMissing          69   a tool of the host is not installed
    │   ├── ToolTimedOut          1   a tool did not answer in time; what it did is unknown
    │   ├── HostUnreachable      69   the host that is driven over ssh does not answer
    │   └── Foreign               3   something that is not ours is in the way
    ├── NotRoot                  77   the command needs root
    ├── UsageError                2   the command line names something that is not there
    ├── OutputLost               74   the result could not be printed; what was done is done
    ├── ConfigError              78   the configuration cannot be used
    └── Interrupted             130   stopped by a signal and rolled back
"""

from ledger.errors import RootswapError


class Refused(RootswapError):
    """Preflight said no; nothing was touched."""

    code = "refused"


class TransactionFailed(RootswapError):
    """The transaction failed and was rolled back; the former state holds."""

    code = "rolled-back"


class TransactionIsStuck(RootswapError):
    """Neither end can be reached without a person."""

    exit_code = 3
    code = "stuck"


class DriverError(RootswapError):
    """A tool of the host failed."""

    code = "driver"


class ToolMissing(DriverError):
    """A tool of the host is not installed."""

    exit_code = 69
    code = "tool-missing"


class ToolTimedOut(DriverError):
    """A tool did not answer in time; what it did is unknown until a probe has looked."""

    code = "tool-timed-out"


class HostUnreachable(DriverError):
    """The host that is driven over ssh does not answer, so that neither forward nor back can be gone now."""

    exit_code = 69
    code = "unreachable"


class Foreign(DriverError):
    """Something that is not ours is in the way; it is never destroyed, unmounted or overwritten."""

    exit_code = 3
    code = "foreign"


class NotRoot(RootswapError):
    """The command needs root."""

    exit_code = 77
    code = "not-root"


class UsageError(RootswapError):
    """The command line names something that is not there."""

    exit_code = 2
    code = "usage"


class OutputLost(RootswapError):
    """The result could not be printed; what was done is done."""

    exit_code = 74
    code = "output-lost"


class ConfigError(RootswapError):
    """The configuration cannot be used."""

    exit_code = 78
    code = "config"


class Interrupted(RootswapError):
    """A signal stopped the work before the point of no return."""

    exit_code = 130
    code = "interrupted"
