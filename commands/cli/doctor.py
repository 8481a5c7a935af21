"""``rootswap doctor``: looks at everything that rootswap stands on, and changes nothing."""

import sys

import typer

from commands.cli.options import OutputOption, config_path
from commands.cli.output import Format, Table, aligned, paint, show

_COLOURS = {"ok": "green", "warning": "yellow", "bad": "red"}


def doctor(ctx: typer.Context, output: OutputOption = Format.TABLE) -> int:
    """Check this machine and change nothing.

    Looks at tools, versions, configuration, ledger, pool, space and clock. Exit code 1 if anything is bad.

    Example: rootswap doctor -o json
    """
    from commands.cli.checkup import examine

    findings = examine(config_path(ctx))
    bad = sum(found.verdict == "bad" for found in findings)
    data = {
        "healthy": bad == 0,
        "checks": [
            {"check": one.check, "verdict": one.verdict, "detail": one.detail, "remedy": one.remedy or None}
            for one in findings
        ],
    }
    table = Table(("check", "verdict", "detail"), [[one.check, one.verdict, one.detail] for one in findings])
    if output is not Format.TABLE:
        show(output, data, table)
        return 1 if bad else 0
    lines = aligned(table).splitlines()
    text = [lines[0]]
    for found, line in zip(findings, lines[1:], strict=True):
        text.append(line if found.verdict == "ok" else paint(line, _COLOURS[found.verdict], sys.stdout))
        text += [f"  remedy: {found.remedy}"] if found.remedy else []
    text.append(f"{bad} bad" if bad else "all is well")
    show(output, data, "\n".join(text))
    return 1 if bad else 0
