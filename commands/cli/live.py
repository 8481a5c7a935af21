"""What the host says of the pool and the jails now, held against what the ledger says."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from commands.config import Config
    from commands.drivers.base import Drivers, JailSpec
    from ledger.events import JsonObject

_ANY_REMEDY = "rootswap doctor"
_UPDATE = "run that version"
_NEWER = "cannot be asked: a newer rootswap recorded it"


class Live(NamedTuple):
    """A jail as it was found. ``state`` is the runtime's word, ``mismatch`` says where it is not as recorded."""

    state: str | None
    mismatch: str | None
    remedy: str | None = None


class PoolLive(NamedTuple):
    """The pool as it was found; ``mismatch`` says why it cannot be used."""

    free_bytes: int | None
    mismatch: str | None


def drivers_if_root(config: "Config") -> "Drivers | None":
    """The drivers of the host; None for a user who may not ask them. Raises HostUnreachable."""
    if os.geteuid() != 0:
        return None
    from commands.bootstrap import make_drivers, open_host
    from commands.transactions.interrupt import Interrupt
    from ledger.clock import SystemClock

    return make_drivers(config, open_host(config, is_patient=False), SystemClock(), Interrupt())


def look_at_pool(on: "Drivers", stored: "JsonObject | None") -> PoolLive:
    """The pool of the ledger; ``stored`` is what the ledger keeps of it."""
    from pydantic import ValidationError

    from commands.drivers.base import PoolSpec, Presence
    from ledger.errors import RootswapError

    try:
        match on.storage.pool_mounted(PoolSpec.model_validate((stored or {}).get("pool"))):
            case Presence.PRESENT:
                return PoolLive(on.storage.space().data_free_bytes, None)
            case Presence.FOREIGN:
                return PoolLive(None, "something else is mounted there")
            case _:
                return PoolLive(None, "it is not mounted")
    except RootswapError as error:
        return PoolLive(None, error.message)
    except ValidationError:
        return PoolLive(None, _NEWER)


def look_at_jails(on: "Drivers", settled: Mapping[str, "JsonObject"]) -> dict[str, Live]:
    """Every jail of the ledger, by name; ``settled`` holds what the ledger keeps of each target."""
    return {
        target.partition(":")[2]: _look(on, stored) for target, stored in settled.items() if target.startswith("jail:")
    }


def _look(on: "Drivers", stored: "JsonObject") -> Live:
    from pydantic import ValidationError

    # Of the whole settled state only what the drivers need: reading plans takes as long as all the rest of ``status``.
    from commands.drivers.base import JailSpec
    from ledger.errors import RootswapError
    from projections.current_state import settled_of
    from projections.fields import inner

    recorded = settled_of(stored)
    try:
        jail = JailSpec.model_validate(inner(stored, "deployment").get("jail"))
        if recorded is None or recorded.release is None or jail.driver not in on.jails:
            return Live(None, _NEWER, _UPDATE)
        return _compare(on, jail, recorded.release, recorded.running or False)
    except RootswapError as error:
        return Live(None, error.message, error.remedy or _ANY_REMEDY)
    except ValidationError:
        return Live(None, _NEWER, _UPDATE)


def _compare(on: "Drivers", jail: "JailSpec", release: str, running: bool) -> Live:
    from commands.drivers.base import JailState
    from commands.drivers.stray import stray_mount
    from commands.remedies import RECOVER

    runtime = on.jails[jail.driver]
    state = runtime.state(jail)
    source = on.storage.root_source(release)
    layers = on.mounts.layers(jail.root)
    mismatch, remedy = None, RECOVER
    stray = stray_mount(on, jail, source, layers, runs=running)
    if stray is not None:
        mismatch, remedy = f"another root than {release} is mounted at {jail.root}", stray
    elif state is JailState.RUNNING and not running:
        mismatch, remedy = "it is running, the ledger says stopped", f"rootswap jail stop {jail.name}"
    elif running and state is not JailState.RUNNING:
        mismatch = f"it is {state}, the ledger says running"
    elif layers == 0:
        mismatch = f"nothing is mounted at {jail.root}"
    elif running and not runtime.runs_on(jail, source):
        mismatch = f"it runs on another root than {release}"
        remedy = f"rootswap jail stop {jail.name} && rootswap jail start {jail.name}"
    return Live(state.value, mismatch, remedy if mismatch else None)
