"""What Datasette is told of the copies: titles, facets, units, and the questions of auditors as canned queries."""

from collections.abc import Mapping

from projections.questions import QUESTIONS, Connection, Question, columns_of

Metadata = dict[str, object]

#: No file may be fetched whole, nothing is asked for that nobody asked for, and no query takes for ever.
SETTINGS = {
    "allow_download": False,
    "suggest_facets": False,
    "default_page_size": 50,
    "max_returned_rows": 1000,
    "sql_time_limit_ms": 5000,
    "default_cache_ttl": 0,
}
_MOST = "1000"
_TABLES = {
    "changes": (
        "Changes",
        "One line per transaction: outcome, approval, downtime.",
        ("target", "state", "kind"),
    ),
    "steps": ("Steps", "Each step of each transaction, with both ends of what it changed.", ("kind", "state")),
    "log": ("Log", "Every record in words: who did what, when, to what end.", ("type", "login", "target")),
    "targets": ("Targets", "What there is now, and since which transaction.", ()),
    "releases": ("Releases", "Every release that was ever taken, and what became of it.", ("template", "state")),
    "transactions": ("Transactions", "As `changes`, with the settled states as JSON.", ("target", "state", "kind")),
    "turns": ("Turns of the clock", "Where the clock of the host was set back.", ()),
    "decisions": ("Decisions", "What persons decided of stuck transactions.", ()),
    "position": ("Position", "How far the projections have read.", ()),
}
_NEWEST_FIRST = {"changes": "begun_seq", "transactions": "begun_seq", "log": "seq"}


def metadata(tables: Connection, description: str, digests: Mapping[str, str]) -> Metadata:
    """The metadata for the databases ``history``, which ``tables`` are, and ``ledger``.

    Only the holder of the link is let in.
    """
    said = {name: f"SHA-256 of this copy: {digest}" for name, digest in digests.items()}
    return {
        "title": "rootswap ledger",
        "description": description,
        "allow": {"id": "root"},
        "databases": {
            "_internal": {"allow": False},
            "history": {
                "description": f"The ledger in tables, made from its records. {said['history']}",
                "tables": {name: _table(name) for name in _TABLES},
                "queries": {question.name: _query(tables, question) for question in QUESTIONS},
            },
            "ledger": {
                "description": f"The records themselves, in the column record. {said['ledger']}",
                "tables": {"events": {"description": "The record is the truth; all other columns are copies of it."}},
            },
        },
    }


def _table(name: str) -> Metadata:
    title, description, facets = _TABLES[name]
    found: Metadata = {"title": title, "description": description}
    if facets:
        found["facets"] = list(facets)
    if name in _NEWEST_FIRST:
        found["sort_desc"] = _NEWEST_FIRST[name]
    return found


def _query(tables: Connection, question: Question) -> Metadata:
    """The question with two fields to fill in; lengths of time in milliseconds, for people."""
    text = question.text().replace(":limit", _MOST)
    columns = ", ".join(_shown(column) for column in columns_of(tables, question.text()))
    said = f"{question.title}. Both times are UTC as recorded, like 2026-03-14T01:59:26Z; leave them empty for all."
    sql = f"SELECT {columns} FROM (\n{text}\n)"  # noqa: S608 constants only
    return {"title": question.title, "description": said, "sql": sql, "hide_sql": True}


def _shown(column: str) -> str:
    if column.endswith("_ns"):
        return f"round({column} / 1e6, 1) AS {column.removesuffix('_ns')}_ms"
    return f'"{column}"'
