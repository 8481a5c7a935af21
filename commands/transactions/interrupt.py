"""A wish to stop. Apart from the engine, so that whoever only needs drivers does not load the engine."""

from dataclasses import dataclass


@dataclass(slots=True)
class Interrupt:
    """A wish to stop, from a signal: its name, or None."""

    signal: str | None = None
