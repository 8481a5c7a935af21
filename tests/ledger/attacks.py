"""What somebody with root and SQLite can do to a closed ledger."""

import hashlib
import json
import sqlite3
from pathlib import Path

from ledger.merkle import Frontier, leaf_hash
from tests.ledger.fakes import TX


def tamper(directory: Path, statement: str) -> None:
    """What root can do: put the guards aside, change the file, put them back."""
    connection = sqlite3.connect(directory / "ledger.db", isolation_level=None)
    triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(statement)
    for _, sql in triggers:
        connection.execute(sql)
    connection.close()


def forge(directory: Path, *changes: dict[str, object], transaction: str = TX) -> None:
    """Append records as a newer engine would, each like the last one but for its changes."""
    connection = sqlite3.connect(directory / "ledger.db", isolation_level=None)
    frontier = Frontier()
    for (data,) in connection.execute("SELECT record FROM events ORDER BY seq").fetchall():
        frontier.add(leaf_hash(data))
    for change in changes:
        data, hashed = connection.execute("SELECT record, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        last = json.loads(data)
        follow = {"seq": last["seq"] + 1, "version": last["version"] + 1, "previous": hashed.hex()}
        record = {**last, **follow, "event_id": f"{last['seq']:032x}", "engine_version": "9.0", **change}
        data = json.dumps(record).encode()
        columns = [record[name] for name in ("seq", "event_id", "stream", "version", "transaction", "target", "type")]
        subtrees = b"".join(frontier.add(leaf_hash(data)))
        columns += [record["schema_version"], record["at"], hashlib.sha256(data).digest(), subtrees, data]
        connection.execute("INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", columns)
        connection.execute(
            "UPDATE transactions SET last_seq = ? WHERE transaction_id = ?", (record["seq"], transaction)
        )
    connection.close()
