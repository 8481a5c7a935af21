"""What there is: templates, releases, jails and volumes."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from commands.cli import missing, options
from commands.cli.output import Cell, Format, Table, size
from commands.cli.reading import UtcOption, open_ledger, show_lines, when

if TYPE_CHECKING:
    from commands.config import Config
    from commands.drivers.base import Drivers
    from ledger.reader import LedgerReader
    from projections.current_state import TargetLine
    from projections.releases import ReleaseLine


class TemplateItem(NamedTuple):
    """A template, and the jails on its newest release."""

    template: str
    head: str | None
    release: str | None
    since: str | None
    by: str | None
    jails: tuple[str, ...]


class ReleaseItem(NamedTuple):
    """A release, the jails on it, and the jails that would be rolled back to it."""

    release: str
    template: str
    state: str
    taken_at: str
    taken_by: str
    retired_by: str | None
    used_by: tuple[str, ...]
    held_for: tuple[str, ...]


class JailItem(NamedTuple):
    """A jail; ``past`` are the releases that it can be rolled back through, latest last."""

    jail: str
    template: str | None
    release: str | None
    since: str | None
    by: str | None
    running: bool | None
    past: tuple[str, ...]


class VolumeItem(NamedTuple):
    """A volume, or a data snapshot of several: ``state`` is in use, kept, or unwound.

    ``written_bytes`` is what was written to the volumes since the snapshot, where the storage counts it.
    """

    jail: str
    kind: str
    volumes: tuple[str, ...]
    state: str
    transaction: str | None
    taken_at: str | None
    path: str
    written_bytes: int | None = None


# --- template list ----------------------------------------------------------------------------------------------------


def templates(ctx: typer.Context, output: options.OutputOption = Format.TABLE, utc: UtcOption = False) -> None:
    """List the templates: head and newest release of each, and the jails that run on it."""
    from projections.releases import jails_on

    config = options.read_config(ctx)
    with open_ledger(config) as reader:
        built, jails, _ = _current(reader)
    settled = {name: jail.settled for name, jail in jails.items()}
    items = []
    for name in sorted({*built, *config.template}):
        if (line := built.get(name)) is None:
            items.append(TemplateItem(name, None, None, None, None, ()))
        else:
            release = line.settled.release
            on_it = jails_on(release, settled) if release else ()
            items.append(TemplateItem(name, line.settled.head, release, line.since, line.by, on_it))
    rows: list[list[Cell]] = [
        [
            item.template,
            item.head,
            item.release or f"not built yet: rootswap template build {item.template}",
            when(item.since, utc),
            item.by,
            _joined(item.jails),
        ]
        for item in items
    ]
    columns = ("template", "head", "release", "since", "by", "jails on it")
    empty = "no templates: describe one as [template.NAME] in the configuration"
    show_lines(output, [item._asdict() for item in items], TemplateItem._fields, Table(columns, rows, empty))


# --- release list -----------------------------------------------------------------------------------------------------


def releases(
    ctx: typer.Context,
    template: Annotated[str | None, typer.Option("--template", help="Only those of one template.")] = None,
    gone: Annotated[bool, typer.Option("--all", help="Those that are gone as well.")] = False,
    output: options.OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> None:
    """List the releases: when each was taken, which jails are on it and which would be rolled back to it.

    As root the pool is asked as well: a release that was not destroyed by rootswap, and yet is not there, is gone; one
    that can be written, or has only remains, is damaged.
    """
    config = options.read_config(ctx)
    with open_ledger(config) as reader:
        built, jails, lines = _current(reader)
    if template is not None and template not in built:
        config.find_template(template)
    wanted = [line for line in lines if (gone or line.is_there) and template in (None, line.template)]
    gone_now = missing.releases(config, [line.release for line in wanted if line.state == "present"])
    items = [_release_item(line, jails)._replace(state=gone_now.get(line.release, line.state)) for line in wanted]
    rows: list[list[Cell]] = [
        [
            item.release,
            item.state,
            when(item.taken_at, utc),
            item.taken_by,
            _joined(item.used_by),
            _joined(item.held_for),
        ]
        for item in items
    ]
    columns = ("release", "state", "taken", "transaction", "used by", "rollback target of")
    empty = "no releases: `rootswap template build` takes the first one of a template"
    show_lines(output, [item._asdict() for item in items], ReleaseItem._fields, Table(columns, rows, empty))
    missing.tell(gone_now)


def _release_item(line: "ReleaseLine", jails: "dict[str, TargetLine]") -> ReleaseItem:
    from projections.releases import jails_holding, jails_on

    settled = {name: jail.settled for name, jail in jails.items()}
    return ReleaseItem(
        release=line.release,
        template=line.template,
        state=line.state,
        taken_at=line.taken_at,
        taken_by=line.taken_by,
        retired_by=line.retired_by,
        used_by=jails_on(line.release, settled),
        held_for=jails_holding(line.release, settled),
    )


# --- jail list --------------------------------------------------------------------------------------------------------


def jails(ctx: typer.Context, output: options.OutputOption = Format.TABLE, utc: UtcOption = False) -> None:
    """List the jails: the release of each, and where a rollback would lead. ``status`` asks the host as well.

    As root the pool is asked whether these releases are there.
    """
    config = options.read_config(ctx)
    with open_ledger(config) as reader:
        _, deployed, _ = _current(reader)
    items = [_jail_item(name, deployed.get(name), config) for name in sorted({*deployed, *config.jail})]
    rows: list[list[Cell]] = [
        [
            item.jail,
            item.template,
            item.release or f"not deployed yet: rootswap upgrade {item.jail}",
            when(item.since, utc),
            None if item.running is None else "running" if item.running else "stopped",
            _way_back(item),
        ]
        for item in items
    ]
    columns = ("jail", "template", "release", "since", "recorded as", "rollback to")
    empty = "no jails: describe one as [jail.NAME] in the configuration"
    show_lines(output, [item._asdict() for item in items], JailItem._fields, Table(columns, rows, empty))
    needed = {name for item in items for name in (item.release, *item.past[-1:]) if name is not None}
    missing.tell(missing.releases(config, sorted(needed)))


def _way_back(item: JailItem) -> str | None:
    """Where a rollback leads; to the release that the jail is on, if its last upgrade was one of the configuration."""
    if not item.past:
        return None
    return f"{item.past[-1]}, configuration only" if item.past[-1] == item.release else item.past[-1]


def _jail_item(name: str, line: "TargetLine | None", config: "Config") -> JailItem:
    from ledger.names import template_of

    template = config.jail[name].template if name in config.jail else None
    if line is None:
        return JailItem(name, template, None, None, None, None, ())
    settled = line.settled
    template = template_of(settled.release) if settled.release else template
    return JailItem(name, template, settled.release, line.since, line.by, settled.running, settled.past)


# --- volume list ------------------------------------------------------------------------------------------------------


def volumes(
    ctx: typer.Context,
    jail: Annotated[str | None, typer.Argument(metavar="[JAIL]", help="Only those of one jail.")] = None,
    output: options.OutputOption = Format.TABLE,
    utc: UtcOption = False,
) -> None:
    """List volumes, and the snapshots of their data that were kept at each switch."""
    from commands.cli.live import drivers_if_root
    from commands.errors import NotRoot

    config = options.read_config(ctx)
    drivers = drivers_if_root(config)
    if drivers is None:
        raise NotRoot("cannot list volumes: only root may look into the pool", remedy="run it as root")
    with open_ledger(config) as reader:
        _, deployed, _ = _current(reader)
        if jail is not None and jail not in deployed:
            config.find_jail(jail)
        names = [jail] if jail else sorted({*deployed, *config.jail})
        items = [item for name in names for item in volume_items(reader, drivers, name)]
    rows: list[list[Cell]] = [
        [item.jail, item.kind, _joined(item.volumes), item.state, item.transaction, when(item.taken_at, utc), item.path]
        for item in items
    ]
    columns: tuple[str, ...] = ("jail", "kind", "volumes", "state", "transaction", "taken", "path")
    if any(item.written_bytes is not None for item in items):
        columns = (*columns, "written since")
        for row, item in zip(rows, items, strict=True):
            row.append(None if item.written_bytes is None else size(item.written_bytes))
    empty = "no volumes: they are created when a jail that has some is deployed with `rootswap upgrade JAIL`"
    show_lines(output, [item._asdict() for item in items], VolumeItem._fields, Table(columns, rows, empty))


def volume_items(reader: "LedgerReader", on: "Drivers", jail: str) -> list[VolumeItem]:
    """The volumes and data snapshots of a jail, as the storage shows them; the oldest snapshot first."""
    items = [
        VolumeItem(jail, "volume", (name,), "in use", None, None, on.storage.volume_path(jail, name))
        for name in on.storage.volumes(jail)
    ]
    snapshots = [
        VolumeItem(
            jail,
            "snapshot",
            found.volumes,
            "unwound" if found.unwound else "kept",
            found.transaction,
            _snapshot_time(reader, found.transaction),
            found.path,
            found.written_bytes,
        )
        for found in on.storage.snapshots(jail)
    ]
    return items + sorted(snapshots, key=lambda item: (item.taken_at or "", item.path))


def _snapshot_time(reader: "LedgerReader", transaction: str) -> str | None:
    from projections.queries import story

    told = story(reader, transaction)
    steps = told.steps if told else ()
    return next((step.started_at for step in steps if step.kind == "snapshot_volumes"), None)


# --- what they share --------------------------------------------------------------------------------------------------


def _current(
    reader: "LedgerReader",
) -> "tuple[dict[str, TargetLine], dict[str, TargetLine], list[ReleaseLine]]":
    """Templates, jails and releases."""
    from projections.projector import open_projector
    from projections.queries import all_releases, all_targets

    with open_projector(reader) as projector:
        return all_targets(projector, "template"), all_targets(projector, "jail"), all_releases(projector)


def _joined(names: Iterable[str]) -> str | None:
    return ", ".join(names) or None
