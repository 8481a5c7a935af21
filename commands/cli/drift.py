"""``audit drift``: what the ledger recorded last against what is there now."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from commands.cli import options
from commands.cli.output import Cell, Format, Table
from commands.cli.reading import UtcOption, open_ledger, show_lines, when

if TYPE_CHECKING:
    from commands.drivers.base import Drivers
    from ledger.reader import LedgerReader
    from projections.current_state import TargetLine

PENDING = 10
#: What was found, and what is wrong with it.
Found = tuple[str, str | None]


class DriftItem(NamedTuple):
    """A target: what the ledger says of it and since which transaction, what was found, and the difference if any."""

    target: str
    recorded: str
    by: str
    settled_at: str
    found: str | None
    drift: str | None
    remedy: str | None


def drift(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="What is as recorded as well.")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 10 if there is any drift.")] = False,
    output: options.OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> int:
    """Where the host is not as the ledger recorded it last: pool, templates, releases and jails, each asked now.

    Example: rootswap audit drift --exit-code
    """
    from commands.cli import live
    from commands.errors import NotRoot

    config = options.read_config(ctx)
    drivers = live.drivers_if_root(config)
    if drivers is None:
        raise NotRoot("cannot look for drift: only root may ask the host", remedy="run it as root")
    with open_ledger(config) as reader:
        items = look(reader, drivers)
    shown = [item for item in items if everything or item.drift]
    rows: list[list[Cell]] = [
        [item.target, item.recorded, item.by, when(item.settled_at, utc), item.found, item.drift, item.remedy]
        for item in shown
    ]
    columns = ("target", "recorded", "by", "since", "found", "drift", "remedy")
    empty = f"no drift: {len(items)} targets are as recorded"
    show_lines(output, [item._asdict() for item in shown], DriftItem._fields, Table(columns, rows, empty))
    return PENDING if exit_code and any(item.drift for item in items) else 0


def look(reader: "LedgerReader", on: "Drivers") -> list[DriftItem]:
    """Every target that the ledger knows, held against the host."""
    from projections.queries import current_targets

    pool = current_targets(reader, "pool").get("main")
    items = [] if pool is None else [_pool(reader, on, pool)]
    is_there = bool(items) and items[0].drift is None
    held = [*_templates(reader, on), *_releases(reader, on)] if is_there else []
    return [*items, *held, *_jails(reader, on)]


def _pool(reader: "LedgerReader", on: "Drivers", line: "TargetLine") -> DriftItem:
    from commands.cli.live import look_at_pool

    found = look_at_pool(on, reader.settled("pool:main"))
    state = "mounted" if found.mismatch is None else None
    remedy = "rootswap recover" if found.mismatch else None
    recorded = line.settled.path or "unknown"
    return DriftItem(line.target, recorded, line.settled_by, line.settled_at, state, found.mismatch, remedy)


def _jails(reader: "LedgerReader", on: "Drivers") -> list[DriftItem]:
    from commands.cli.live import look_at_jails
    from projections.queries import current_targets

    lives = look_at_jails(on, reader.settled_targets())
    items = []
    for name, line in current_targets(reader, "jail").items():
        live = lives[name]
        recorded = f"{line.settled.release} {'running' if line.settled.running else 'stopped'}"
        items.append(
            DriftItem(line.target, recorded, line.settled_by, line.settled_at, live.state, live.mismatch, live.remedy)
        )
    return items


def _templates(reader: "LedgerReader", on: "Drivers") -> list[DriftItem]:
    """The head of each template, which the next upgrade of it starts from."""
    from projections.queries import current_targets

    items = []
    for name, line in current_targets(reader, "template").items():
        head = line.settled.head
        if head is None:
            continue
        found, mismatch = _asked(partial(_look_at_head, on, name, head))
        remedy = "rootswap doctor" if mismatch else None
        items.append(DriftItem(line.target, f"head {head}", line.settled_by, line.settled_at, found, mismatch, remedy))
    return items


def _look_at_head(on: "Drivers", template: str, head: str) -> Found:
    from commands.drivers.base import Presence

    presence = on.storage.template_presence(template, head)
    return presence.value, None if presence is Presence.PRESENT else f"the head of the template is {presence}"


def _releases(reader: "LedgerReader", on: "Drivers") -> list[DriftItem]:
    """Releases that the ledger says are there, as they were taken, and releases of ours that it does not know."""
    from projections.projector import open_projector
    from projections.queries import all_releases

    with open_projector(reader) as projector:
        known = {line.release: line for line in all_releases(projector)}
    items = []
    for name, line in known.items():
        if line.state == "present":
            found, mismatch = _asked(partial(_look_at_release, reader, on, name))
            remedy = "restore it from a backup, or destroy it: rootswap release destroy" if mismatch else None
            items.append(DriftItem(f"release:{name}", "present", line.taken_by, line.taken_at, found, mismatch, remedy))
    there = on.storage.releases()
    foreign = sorted(name for name in there if name not in known or known[name].state in ("undone", "retired"))
    for name in foreign:
        why = "the ledger does not know of it, or says it is gone"
        items.append(DriftItem(f"release:{name}", "absent", "-", "-", "present", why, "rootswap doctor"))
    return items


def _look_at_release(reader: "LedgerReader", on: "Drivers", name: str) -> Found:
    from commands.drivers.base import Presence
    from projections.queries import recorded_fingerprint

    presence = on.storage.release_presence(name)
    if presence is Presence.ABSENT:
        return "missing", "it is not in the pool"
    if presence is not Presence.PRESENT:
        return presence.value, "it is not an immutable snapshot of ours any more"
    if on.storage.fingerprint(name) != recorded_fingerprint(reader, name):
        return "changed", "it was changed after it was taken"
    return presence.value, None


def _asked(look: Callable[[], Found]) -> tuple[str | None, str | None]:
    """What ``look`` finds; a driver that cannot tell is a difference too, and no reason not to ask for the rest."""
    from ledger.errors import RootswapError

    try:
        return look()
    except RootswapError as error:
        return None, error.message
