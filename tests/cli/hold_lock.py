"""Takes the lock of a ledger and holds it until killed. ``orphan``: leaves a child with the lock, and is gone."""

import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from ledger.lock import EngineLock

lock = EngineLock.take(Path(sys.argv[1]), tuple(sys.argv), "2026-01-02T03:04:05.000006Z")
if sys.argv[2:] == ["orphan"]:
    child = subprocess.Popen(["sleep", "60"], pass_fds=(lock.fd,), stdout=subprocess.DEVNULL, start_new_session=True)
    print(child.pid, flush=True)
else:
    print("held", flush=True)
    time.sleep(60)
