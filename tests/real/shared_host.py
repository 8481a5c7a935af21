"""An engine killed around every mount of an upgrade where ``/`` is shared, as systemd makes it. Prints the points.

It is a program of its own, run in a mount namespace of its own: see test_shared_host.py.
"""

import json
import sys
import tempfile
from pathlib import Path

from commands.drivers.host import LocalHost
from commands.drivers.mounts import mounted
from tests.real.site import Killer, RealSite


def killed_around_every_mount(site: RealSite) -> list[str]:
    """The points at which it was killed; after each, recovery has to bring about one of the two ends and no more."""
    to_two = site.upgrade("web")
    before = site.look()
    log = site.directory / "points"
    assert site.execute(to_two, Killer(log=log)) == 0
    after = site.look()
    points = list(map(json.loads, log.read_text().splitlines()))
    moves = {number: point for number, point in enumerate(points, 1) if "mount " in point}
    for number, point in moves.items():
        if site.page() == "two":
            assert site.execute(lambda session: session.requests.rollback("web")) == 0
        assert site.look() == before, "the rollback has left something"
        status = site.execute(to_two, Killer(number))
        assert status == -9 or "during" in point, f"not killed at {point}"
        assert site.recover() == 0, point
        found = site.look()
        assert found in (before, after), f"killed {point}: {found}"
    return list(moves.values())


def main() -> None:
    """With a directory for the site as the only argument."""
    root = next(mount for mount in mounted(LocalHost()) if mount.path == "/")
    assert root.shared, "nothing is shared: nothing is tested here"
    site = RealSite(Path(tempfile.mkdtemp(dir=sys.argv[1])))
    try:
        site.settle()
        print(json.dumps(killed_around_every_mount(site)))
    finally:
        site.close()


if __name__ == "__main__":
    main()
