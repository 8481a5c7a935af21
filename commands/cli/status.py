"""``status``: what needs attention, and what there is."""

from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

import typer

from commands.cli import options
from commands.cli.output import Cell, Format, Table, duration, fitted, note, show, size
from commands.cli.reading import UtcOption, engine_named, open_ledger, show_lines, transaction_data, when
from commands.remedies import OPEN_ON_IT, for_open

if TYPE_CHECKING:
    from commands.cli.live import Live, PoolLive
    from commands.cli.waiting import WaitingLine
    from commands.config import Config
    from ledger.reader import LedgerReader
    from projections.current_state import TargetLine
    from projections.history import TransactionLine

STUCK = 3


class Overview(NamedTuple):
    """All that ``status`` tells. ``live`` is None for a user who may not ask the host."""

    attention: list["TransactionLine"]
    waiting: list["WaitingLine"]
    engine: str | None
    pool: str | None
    pool_live: "PoolLive | None"
    templates: dict[str, "TargetLine"]
    jails: dict[str, "TargetLine"]
    last: dict[str, "TransactionLine"]
    live: dict[str, "Live"] | None
    not_built: list[str]
    not_deployed: list[str]

    @property
    def is_stuck(self) -> bool:
        """Whether a person must decide."""
        return any(line.state == "stuck" for line in self.attention)


def status(ctx: typer.Context, output: options.OutputOption = Format.TABLE, utc: UtcOption = False) -> int:
    """Show what needs attention, the pool, the templates and the jails."""
    config = options.read_config(ctx)
    with open_ledger(config) as reader:
        overview = look(config, reader)
    if output in (Format.CSV, Format.TSV):
        items = _jail_items(overview)
        show_lines(output, items, tuple(items[0]) if items else ("jail",), Table((), []))
    else:
        show(output, _data(overview), _text(overview, utc))
    return STUCK if overview.is_stuck else 0


def look(config: "Config", reader: "LedgerReader") -> Overview:
    """Ask the ledger, and the host where we may."""
    from commands.cli.live import drivers_if_root, look_at_jails, look_at_pool
    from commands.cli.waiting import waiting_lines
    from commands.errors import HostUnreachable
    from ledger.clock import SystemClock
    from projections.queries import current_targets, last_transaction, recent_transactions

    try:
        drivers = drivers_if_root(config)
    except HostUnreachable as error:
        note(f"warning: {error.message}; what follows is what the ledger says")
        drivers = None
    engine = engine_named(reader)
    templates, jails = current_targets(reader, "template"), current_targets(reader, "jail")
    last = {name: last_transaction(reader, line.target) for name, line in jails.items()}
    pool = current_targets(reader, "pool").get("main")
    return Overview(
        waiting=waiting_lines(reader, SystemClock().now()),
        attention=sorted(recent_transactions(reader, open_only=True), key=lambda line: line.state != "stuck"),
        engine=engine,
        pool=pool.settled.path if pool else None,
        pool_live=None if drivers is None or pool is None else look_at_pool(drivers, reader.settled("pool:main")),
        templates=templates,
        jails=jails,
        last={name: line for name, line in last.items() if line},
        live=None if drivers is None else look_at_jails(drivers, reader.settled_targets()),
        not_built=sorted(set(config.template) - set(templates)),
        not_deployed=sorted(set(config.jail) - set(jails)),
    )


#: What people call an open transaction, other than stuck.
_WORDS = {"forward": "unfinished", "unwinding": "being taken back"}


def remedy(line: "TransactionLine", engine: str | None) -> str:
    """What to do about an open transaction."""
    return for_open(line.transaction_id, is_stuck=line.state == "stuck", engine=engine)


def _data(overview: Overview) -> dict[str, object]:
    from commands.cli.live import PoolLive

    return {
        "stuck": overview.is_stuck,
        "open": [{**transaction_data(line), "remedy": remedy(line, overview.engine)} for line in overview.attention],
        "waiting": [{**asdict(line), "remedy": line.remedy} for line in overview.waiting],
        "engine": overview.engine,
        "pool": {"path": overview.pool, **(overview.pool_live or PoolLive(None, None))._asdict()}
        if overview.pool
        else None,
        "templates": [
            {"template": name, "head": line.settled.head, "release": line.settled.release, "since": line.since}
            for name, line in overview.templates.items()
        ],
        "jails": _jail_items(overview),
        "not_built": overview.not_built,
        "not_deployed": overview.not_deployed,
    }


def _jail_items(overview: Overview) -> list[dict[str, object]]:
    items: list[dict[str, object]] = []
    for name, line in overview.jails.items():
        last, live = overview.last.get(name), (overview.live or {}).get(name)
        items.append(
            {
                "jail": name,
                "release": line.settled.release,
                "since": line.since,
                "by": line.by,
                "running": line.settled.running,
                **(live._asdict() if live else {"state": None, "mismatch": None}),
                "last_transaction": last and last.transaction_id,
                "last_kind": last and last.kind,
                "last_state": last and last.state,
                "last_downtime_ns": last and last.downtime_ns,
            }
        )
    return items


def _text(overview: Overview, utc: bool) -> str:
    parts = [*_attention(overview, utc), _pool(overview)]
    rows: list[list[Cell]] = [
        [name, line.settled.head, line.settled.release, when(line.since, utc)]
        for name, line in overview.templates.items()
    ]
    rows += [[name, None, "not built yet: rootswap template build " + name, None] for name in overview.not_built]
    parts.append(fitted(Table(("template", "head", "release", "since"), rows, "no template is configured")))
    columns = ("jail", "release", "since", "state", "last transaction", "ended", "downtime")
    jails = [_jail_row(overview, name, line, utc) for name, line in overview.jails.items()]
    jails += [[name, "not deployed yet: rootswap upgrade " + name, *[None] * 5] for name in overview.not_deployed]
    parts.append(fitted(Table(columns, jails, "no jail is configured")) + _mismatches(overview))
    return "\n".join(parts)


def _pool(overview: Overview) -> str:
    if overview.pool is None:
        return "pool: not created yet: rootswap init\n"
    live = overview.pool_live
    if live is None:
        return f"pool: {overview.pool}\n"
    if live.mismatch:
        return f"pool: {overview.pool} (!) {live.mismatch} → rootswap recover\n"
    return f"pool: {overview.pool}, {size(live.free_bytes)} free\n"


def _attention(overview: Overview, utc: bool) -> list[str]:
    lines = []
    for line in overview.attention:
        cause = f": {line.cause}" if line.cause else ""
        lines.append(
            f"{line.transaction_id}  {line.kind} of {line.target} is {_WORDS.get(line.state, line.state)}, "
            f"begun {when(line.begun_at, utc)} by {line.login}{cause}\n  → {remedy(line, overview.engine)}\n"
        )
    return lines + [f"{line.sentence(utc)}\n  → {line.remedy}\n" for line in overview.waiting]


def _jail_row(overview: Overview, name: str, line: "TargetLine", utc: bool) -> list[Cell]:
    last, live = overview.last.get(name), (overview.live or {}).get(name)
    recorded = "running" if line.settled.running else "stopped"
    if live is None:
        state = f"{recorded} (not asked)"
    else:
        state = f"{live.state or 'unknown'} (!)" if live.mismatch else recorded
    done = f"{last.kind} {last.transaction_id} {last.state}" if last else None
    ended = when(last.ended_at, utc) if last else None
    downtime = duration(last.downtime_ns if last else None)
    return [name, line.settled.release, when(line.since, utc), state, done, ended, downtime]


def _mismatches(overview: Overview) -> str:
    busy = {line.target for line in overview.attention}
    lines = []
    for name, live in (overview.live or {}).items():
        if live.mismatch:
            why = OPEN_ON_IT if f"jail:{name}" in busy else live.remedy
            lines.append(f"(!) {name}: {live.mismatch} → {why}\n")
    return "".join(lines)
