"""Who did it, and on whose word: the persons behind a transaction, as they are recorded."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Approval(BaseModel):
    """Who allowed a change, apart from the one who made it."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    by: str
    at: str
    meaning: str


class Person(BaseModel):
    """Who it was, as the kernel tells it: an environment variable has no say in it.

    ``source`` is what told: ``login-uid`` (the audit identity, which survives su and sudo), ``session`` (the login name
    that FreeBSD keeps), ``process`` (the outermost user other than root among the processes that led here) or ``uid``
    (nothing better than the user id). ``through``
    are the other users on that way (``sudo -u``); ``claimed`` is what SUDO_USER said, where it named somebody else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    uid: int
    login: str
    source: Literal["login-uid", "session", "process", "uid"]
    through: tuple[int, ...] = ()
    claimed: str | None = None

    def may_be(self, other: "Person") -> bool:
        """Whether the two cannot be told apart: one user, one has come by way of the other, or one is only "root".

        Anybody may be behind root without a login: a job of cron, a session opened with the shared password.
        """
        on_the_way = self.uid in other.through or other.uid in self.through
        return self.uid == other.uid or on_the_way or 0 in (self.uid, other.uid)


class WindowState(BaseModel):
    """What windows and freezes said at the moment of a decision.

    ``name`` is the window that was open, or the freeze; ``note`` is why it is frozen; ``next`` is the next opening, in
    the time zone of its window, with the offset.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    state: Literal["unrestricted", "inside", "outside", "frozen"]
    name: str | None = None
    note: str | None = None
    next: str | None = None


class Authority(BaseModel):
    """On whose word a transaction begins, and whether in its window.

    An ``emergency`` went over what the policy asked for; it owes an approval until ``settle_by`` (UTC). ``recovery``
    is never asked. ``planned_by`` is None where planning and running were one command. ``policy`` is the SHA-256 of the
    policy that was in force: it changes when the policy does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    basis: Literal["none-required", "second-person", "self", "emergency", "recovery"]
    by: Person
    window: WindowState
    planned_by: Person | None = None
    approved_by: Person | None = None
    settle_by: str | None = None
    policy: str | None = None
