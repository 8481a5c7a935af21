"""``audit report``: one page on a period, for people."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from commands.cli import options
from commands.cli.asking import SinceOption, TargetOption, UntilOption, scope_of
from commands.cli.output import note
from commands.cli.reading import UtcOption, open_ledger, when

if TYPE_CHECKING:
    from commands.config import Config
    from ledger.reader import LedgerReader
    from projections.report import Frame, Verification

#: More changes than that are no page any more.
MOST_ON_A_PAGE = 500


def report(
    ctx: typer.Context,
    file: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="The page: an .html file.")],
    since: SinceOption = None,
    until: UntilOption = None,
    target: TargetOption = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="How many changes to show, the newest; sums are over all.")
    ] = MOST_ON_A_PAGE,
    verify: Annotated[bool, typer.Option("--verify/--no-verify", help="Verify the whole ledger for it first.")] = True,
    utc: UtcOption = False,
) -> None:
    """Write a page on a period: a timeline of each jail, downtime to scale, outcomes, approvals, percentiles.

    One HTML file that needs neither network nor script, for the screen and for paper.

    Example: rootswap audit report --since 90d --output report.html
    """
    from dataclasses import replace

    from commands.drivers.host import LocalHost
    from ledger.clock import SystemClock
    from projections.report import find
    from projections.report import report as draw
    from projections.shelf import open_tables

    now = f"{SystemClock().now():%Y-%m-%dT%H:%M:%S.%f}Z"
    config = options.read_config(ctx)
    with open_ledger(config) as reader:
        scope = replace(scope_of(reader, config, since, until, target), limit=limit)
        with open_tables(reader) as tables:
            found = find(tables, scope, now)
        verification = verified(config, reader, verify=verify)
        frame = frame_of(reader, now, utc)
    LocalHost().write(os.path.abspath(file), draw(found, verification, frame).encode(), 0o600)
    note(f"{file}: {found.count} changes; {verification.sentence}")


def frame_of(reader: "LedgerReader", now: str, utc: bool) -> "Frame":
    """What a page says of itself."""
    import socket
    import time

    from commands import __version__
    from commands.cli.export import origin
    from projections.report import Frame

    zone = "in UTC" if utc else f"local ({time.strftime('%Z')}), each with its offset from UTC"
    return Frame(origin(reader), socket.gethostname(), now, __version__, zone, lambda at: when(at, utc) or at)


def verified(config: "Config", reader: "LedgerReader", *, verify: bool) -> "Verification":
    """The state of the ledger, verified now if asked to. Raises LedgerDamaged: nothing is told of a damaged ledger."""
    from commands.cli.proof import report_on
    from ledger.checkpoint import fingerprint
    from projections.report import Verification

    if not verify:
        return Verification(False, "The ledger was not verified for this page.")
    if reader.last_seal() is None:
        return Verification(False, "Nothing is signed yet: rootswap audit checkpoint signs it.")
    found = report_on(config, reader)
    vouched = found.vouched
    if vouched is None:
        raise AssertionError("evidence was given")
    seal = reader.seal_of(vouched.sealed)
    tail = f", and {vouched.tail} after them are not signed yet" if vouched.tail else ""
    return Verification(
        True,
        f"The ledger was verified for this page: records 1 to {vouched.sealed} are signed{tail}.",
        (
            ("checkpoint", seal.checkpoint.text.replace("\n", "  ").strip() if seal else ""),
            ("signed by", fingerprint(vouched.key)),
            ("records", f"{found.records}, transactions {found.transactions}"),
            ("last hash", found.head),
        ),
    )
