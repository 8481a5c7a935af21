"""What every step is: a frozen value with both ends of one change in it, and four verbs.

``probe`` looks, ``run`` does, ``undo`` takes back, ``fact`` tells what is there now. A step holds every name, path and
identifier that it needs; it looks nothing up that the plan could have decided, so that running it again after a crash
does the same thing, and undo needs no memory of the run.
"""

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from commands.drivers.base import Drivers, Presence
from ledger.facts import FactBase


class Phase(StrEnum):
    """PREPARE runs while the jail still serves; SWITCH is the downtime, from the point of no return on."""

    PREPARE = "prepare"
    SWITCH = "switch"


class Step(BaseModel, ABC):
    """One reversible change of the host; the unit of undo."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    phase: ClassVar[Phase]
    #: Whether there is anything on the host to probe for and to undo.
    changes_host: ClassVar[bool] = True
    #: Whether the change is gone after a reboot (a mount, a running jail).
    volatile: ClassVar[bool] = False
    kind: str

    @abstractmethod
    def probe(self, on: Drivers) -> Presence:
        """What is there of this step's effect. Changes nothing."""

    @abstractmethod
    def run(self, on: Drivers) -> None:
        """Make the change; already made is success. Raises RootswapError."""

    @abstractmethod
    def undo(self, on: Drivers) -> None:
        """Take the change back; already taken back is success. Raises RootswapError."""

    @abstractmethod
    def fact(self, on: Drivers) -> FactBase:
        """What the host shows of the change, once it is PRESENT."""

    def surprise(self, on: Drivers) -> str:
        """Of what is FOREIGN, what was expected and what is there, as a clause; empty if there is no more to say."""
        return ""

    @abstractmethod
    def forward_words(self) -> str:
        """What ``run`` does, as one line for people."""

    @abstractmethod
    def undo_words(self) -> str:
        """What ``undo`` does, as one line for people."""
