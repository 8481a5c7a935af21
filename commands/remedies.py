"""What an operator is told to do about something that is wrong with a host: the same words wherever it is met.

A remedy that is nothing but a command can be pasted into a shell as it is. Where words are needed, each command in them
stands between backticks and can be pasted as well.
"""

from shlex import quote

#: What settles an open transaction that no engine works on, and puts back what a reboot took away.
RECOVER = "rootswap recover"
#: Of a target that is not as recorded: first comes what is to be done about the transaction.
OPEN_ON_IT = "a transaction is open on it"


def how_to_resolve(transaction: str) -> str:
    """The command that decides what becomes of a stuck transaction, as it can be typed."""
    return f'`rootswap resolve {transaction} --choice unwind --reason "…"`'


def for_stuck(transaction: str) -> str:
    """What to do about a transaction that waits for a person."""
    return f"look at `rootswap tx show {transaction}`, mend the host, then {how_to_resolve(transaction)}"


def for_open(transaction: str, *, is_stuck: bool, engine: str | None) -> str:
    """What to do about an open transaction; ``engine`` is who works on it, as people call it."""
    if is_stuck:
        return for_stuck(transaction)
    return RECOVER if engine is None else f"engine {engine} is at work: `rootswap tx watch {transaction}`"


def for_stray_mount(jail: str, root: str, *, is_used: bool, runs: bool) -> str:
    """The commands that take a mount away that does not belong at the root of a jail.

    ``is_used``: a process of the jail may stand on what is on top there, so that it has to be stopped first. ``runs``:
    the jail is recorded as running, and is to run again.
    """
    stop = f"rootswap jail stop {quote(jail)} && " if is_used else ""
    start = f" && rootswap jail start {quote(jail)}" if is_used and runs else ""
    return f"{stop}umount {quote(root)} && {RECOVER}{start}"
