"""``metrics``: the state of the ledger for node_exporter."""

import os
import sys
from typing import Annotated

import typer

from commands.cli import options
from commands.cli.output import note
from commands.cli.reading import open_ledger


def metrics(
    ctx: typer.Context,
    file: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="A .prom file for the textfile collector; else to stdout."),
    ] = None,
) -> None:
    """Write metrics for Prometheus: outcomes, downtimes, what is open or stuck, the unsealed tail, the last verify.

    The file is replaced at once, so that node_exporter never reads half of it.

    Example: rootswap metrics --output /var/lib/prometheus/node-exporter/rootswap.prom
    """
    from commands.cli.verified import recall
    from commands.drivers.host import LocalHost
    from projections.metrics import LedgerState
    from projections.metrics import metrics as spell
    from projections.shelf import open_tables

    config = options.read_config(ctx)
    last = recall(config)
    with open_ledger(config) as reader, open_tables(reader) as tables:
        seal = reader.last_seal()
        state = LedgerState(
            records=reader.last_seq(),
            sealed=0 if seal is None else seal.checkpoint.size,
            verified_at=last.at if last else None,
            is_sound=last is not None and last.is_sound,
            verified_records=last.records if last else 0,
        )
        text = spell(tables, state)
    if file is None:
        sys.stdout.write(text)
        return
    # node_exporter runs as somebody else.
    LocalHost().write(os.path.abspath(file), text.encode(), 0o644)
    note(f"{file}: written")
