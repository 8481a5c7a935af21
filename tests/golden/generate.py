"""Write the golden ledger: ``python -m tests.golden.generate``.

Only for a new schema version, into a new directory: the files of a released version never change.
"""

import json
import sqlite3
import tempfile
from pathlib import Path

from tests.golden.scenarios import as_json, write

VERSION = "v3"
HERE = Path(__file__).parent


def stored_bytes(directory: Path) -> list[bytes]:
    """The exact records of the ledger in ``directory``."""
    connection = sqlite3.connect(directory / "ledger.db")
    records = [data for (data,) in connection.execute("SELECT record FROM events ORDER BY seq")]
    connection.close()
    return records


def main() -> None:
    """Write ledger.jsonl and statuses.json."""
    target = HERE / VERSION
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        statuses = write(Path(name))
        records = stored_bytes(Path(name))
    (target / "ledger.jsonl").write_bytes(b"".join(record + b"\n" for record in records))
    (target / "statuses.json").write_text(json.dumps(as_json(statuses), indent=1, sort_keys=True) + "\n")
    print(f"{target}: {len(records)} records")


if __name__ == "__main__":
    main()
