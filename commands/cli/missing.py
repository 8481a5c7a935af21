"""Releases that were destroyed, or spoilt, behind our back."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from commands.cli.output import note

if TYPE_CHECKING:
    from commands.config import Config


def releases(config: "Config", wanted: Sequence[str]) -> dict[str, str]:
    """Of the releases ``wanted`` those that are not in the pool as they were taken: gone, damaged or foreign.

    Empty for a user who may not ask, and with a warning where the pool cannot be asked.
    """
    from commands.cli.live import drivers_if_root
    from commands.drivers.base import Presence
    from ledger.errors import RootswapError

    words = {Presence.ABSENT: "gone", Presence.PARTIAL: "damaged", Presence.FOREIGN: "foreign"}
    try:
        if not wanted or (on := drivers_if_root(config)) is None:
            return {}
        found = {name: on.storage.release_presence(name) for name in wanted}
    except RootswapError as error:
        note(f"warning: {error.message}; what is shown is what the ledger says")
        return {}
    return {name: words[presence] for name, presence in found.items() if presence in words}


def tell(lost: Mapping[str, str]) -> None:
    """Say of each what to do about it."""
    for name, word in lost.items():
        note(f"(!) {name} is {word}: rootswap did not destroy it → rootswap release destroy {name}")
