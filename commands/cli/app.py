"""The command tree: every verb, in the order of the help.

A verb is a plain function in the file of its family; it returns None or an exit code, prints through ``output`` and
raises RootswapError. Every file here is imported at every start, so what is heavy (pydantic, sqlite, drivers,
projections) is imported inside the functions that need it.
"""

from typing import Annotated

import typer

from commands.cli import (
    audit,
    configuration,
    doctor,
    init,
    jail,
    listing,
    options,
    proof,
    recover,
    release,
    status,
    template,
    tx,
    upgrade,
)

HELP = "Upgrade servers by swapping roots: every step is logged before it runs, and taken back exactly if it fails."
EXIT_CODES = (
    "Exit codes: 0 done, or nothing to do; 1 refused, or failed and rolled back; 2 usage; 3 an operator must decide; "
    "4 ledger damaged; 10 changes pending (-n --exit-code); 69 tool missing; 70 a bug; 75 busy, try again; "
    "77 not root; 78 bad configuration; 130 interrupted and rolled back."
)

app = typer.Typer(
    name="rootswap",
    help=HELP,
    epilog=EXIT_CODES,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from commands import __version__

        typer.echo(f"rootswap {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            envvar="ROOTSWAP_CONFIG",
            metavar="PATH",
            help="A configuration file, or a directory with rootswap.toml and conf.d/ in it.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Keep what all verbs have in common."""
    ctx.obj = options.Invocation(config)


def _group(name: str, help: str) -> typer.Typer:
    """A noun with verbs of its own."""
    made = typer.Typer(name=name, help=help, rich_markup_mode=None)
    app.add_typer(made)
    return made


app.command()(init.init)
app.command()(doctor.doctor)
app.command()(status.status)
app.command()(upgrade.upgrade)
app.command()(upgrade.rollback)
app.command()(recover.recover)
app.command()(recover.resolve)

_template = _group("template", "The roots that releases are taken of: build and upgrade them offline.")
_template.command("build")(template.build)
_template.command("upgrade")(template.upgrade)
_template.command("list")(listing.templates)

_release = _group("release", "Immutable snapshots of templates, which jails run on.")
_release.command("list")(listing.releases)
_release.command("destroy")(release.destroy)

_jail = _group("jail", "Production units, each on a release.")
_jail.command("list")(listing.jails)
_jail.command("start")(jail.start)
_jail.command("stop")(jail.stop)

_volume = _group("volume", "Read-write data of jails, and its snapshots.")
_volume.command("list")(listing.volumes)

_tx = _group("tx", "Transactions, open and past.")
_tx.command("list")(tx.list_transactions)
_tx.command("show")(tx.show_transaction)
_tx.command("watch")(tx.watch)

_audit = _group("audit", "The ledger as auditors read it.")
_audit.command("log")(audit.log)
proof.register(_audit)

_config = _group("config", "The configuration.")
_config.command("check")(configuration.check)
_config.command("show")(configuration.show_config)
