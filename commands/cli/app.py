"""The command tree: every verb, in the order of the help.

A verb is a plain function in the file of its family; it returns None or an exit code, prints through ``output`` and
raises RootswapError. ``--help`` imports every file here, so what is heavy (pydantic, sqlite, drivers, projections) is
imported inside the functions that need it.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from commands.cli import options

HELP = "Upgrade servers by swapping roots: every step is logged before it runs, and taken back exactly if it fails."
EXIT_CODES = (
    "Exit codes: 0 done, or nothing to do; 1 refused, or failed and rolled back; 2 usage; 3 an operator must decide; "
    "4 ledger damaged; 10 changes pending (-n --exit-code); 69 tool missing; 70 a bug; "
    "74 done, but there was no room to print the result; 75 busy, try again; 77 not root; 78 bad configuration; "
    "130 interrupted and rolled back."
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from commands import __version__

        typer.echo(f"rootswap {__version__}")
        raise typer.Exit


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


#: Every verb, in the order of the help: its words, the module of its family and the function.
VERBS = (
    ("init", "init", "init"),
    ("doctor", "doctor", "doctor"),
    ("status", "status", "status"),
    ("upgrade", "upgrade", "upgrade"),
    ("rollback", "upgrade", "rollback"),
    ("plan", "plan", "plan"),
    ("plans", "plan", "plans"),
    ("approve", "plan", "approve"),
    ("reject", "plan", "reject"),
    ("run", "plan", "run_plan"),
    ("recover", "recover", "recover"),
    ("resolve", "recover", "resolve"),
    ("template build", "template", "build"),
    ("template upgrade", "template", "upgrade"),
    ("template list", "listing", "templates"),
    ("release list", "listing", "releases"),
    ("release destroy", "release", "destroy"),
    ("jail list", "listing", "jails"),
    ("jail start", "jail", "start"),
    ("jail stop", "jail", "stop"),
    ("volume list", "listing", "volumes"),
    ("tx list", "tx", "list_transactions"),
    ("tx show", "tx", "show_transaction"),
    ("tx watch", "tx", "watch"),
    ("audit log", "audit", "log"),
    ("audit show", "tx", "show_transaction"),
    ("audit at", "moments", "at"),
    ("audit who", "questions", "who"),
    ("audit failed", "questions", "failed"),
    ("audit downtime", "downtime", "downtime"),
    ("audit rollbacks", "questions", "rollbacks"),
    ("audit unapproved", "questions", "unapproved"),
    ("audit outside-window", "questions", "outside_window"),
    ("audit open", "questions", "open_changes"),
    ("audit drift", "drift", "drift"),
    ("audit population", "samples", "population"),
    ("audit evidence", "samples", "evidence"),
    ("audit export", "export", "export"),
    ("audit report", "report", "report"),
    ("audit browse", "browse", "browse"),
    ("audit verify", "proof", "verify"),
    ("audit checkpoint", "proof", "checkpoint"),
    ("audit prove", "proof", "prove"),
    ("audit check-proof", "proof", "check_proof"),
    ("audit rotate-key", "proof", "rotate_key"),
    ("boot install", "boot", "install"),
    ("boot remove", "boot", "remove"),
    ("metrics", "metrics", "metrics"),
    ("config check", "configuration", "check"),
    ("config show", "configuration", "show_config"),
)
#: The nouns that have verbs of their own.
NOUNS = {
    "template": "The roots that releases are taken of: build and upgrade them offline.",
    "release": "Immutable snapshots of templates, which jails run on.",
    "jail": "Production units, each on a release.",
    "volume": "Read-write data of jails, and its snapshots.",
    "tx": "Transactions, open and past.",
    "audit": "The ledger as auditors read it.",
    "boot": "What the machine runs at its boot: recovery, before jails start.",
    "config": "The configuration.",
}


def tree(words: Sequence[str]) -> typer.Typer:
    """The command tree for one command line: of all verbs only those that ``words`` can mean, if that is clear."""
    app = typer.Typer(
        name="rootswap",
        help=HELP,
        epilog=EXIT_CODES,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    groups: dict[str, typer.Typer] = {}
    first = _first_word(words)
    known = any(path.split()[0] == first for path, _, _ in VERBS)
    for path, module, function in VERBS:
        noun, _, verb = path.partition(" ")
        if known and noun != first:
            continue
        if verb and noun not in groups:
            groups[noun] = typer.Typer(name=noun, help=NOUNS[noun], rich_markup_mode=None)
            app.add_typer(groups[noun])
        found = getattr(import_module(f"commands.cli.{module}"), function)
        groups.get(noun, app).command(verb or noun)(found)
    if len(app.registered_commands) == 1 and not groups:
        app.command("help", hidden=True)(_no_verb)  # typer runs an only verb without its name being said
    return app


def _no_verb() -> None:
    raise typer.Exit(code=2)


def _first_word(words: Sequence[str]) -> str | None:
    """The first word that is neither an option nor the value of one."""
    rest = iter(words)
    for word in rest:
        if word == "--config":
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return None
