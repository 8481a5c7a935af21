"""An engine killed with SIGKILL at every fail point, on real Btrfs under each runtime; then recovery, in a new process.

A fail point is before, during and after each command that changes something, and before and after each other effect
and each append. The host is looked at from outside: mounts, subvolumes, what the jail serves, and the ledger.
"""

import json
import os
from collections.abc import Callable

import pytest

from commands.bootstrap import Session
from commands.transactions.plan import Plan
from tests.real.site import Killer, RealSite

pytestmark = pytest.mark.real

#: How the start of a jail begins, under each runtime.
STARTS = {"lxc": "lxc-start -n", "oci": " run --detach", "nspawn": "exit 3; pipe="}

Request = Callable[[Session], Plan | None]


def require_time_for(site: RealSite) -> None:
    """Under LXC a recovery and a rollback are killed each time; under the others only if one asks: it takes minutes."""
    if site.driver != "lxc" and os.environ.get("SWEEP") != "all":
        pytest.skip(f"SWEEP=all kills it under {site.driver} as well")


def to_two(session: Session) -> Plan | None:
    return session.requests.upgrade("web", None)


def back(session: Session) -> Plan | None:
    return session.requests.rollback("web")


def points_of(site: RealSite, run: Callable[[Killer], int]) -> list[str]:
    log = site.directory / "points"
    log.unlink(missing_ok=True)
    assert run(Killer(log=log)) == 0
    return [json.loads(line) for line in log.read_text().splitlines()]


def go_to(site: RealSite, page: str) -> None:
    """Bring the jail to the beginning of a scenario."""
    if site.page() != page:
        assert site.execute(back if page == "one" else to_two) == 0
    assert site.page() == page


@pytest.mark.parametrize(("request_", "begin", "end"), [(to_two, "one", "two"), (back, "two", "one")],
                         ids=["upgrade", "rollback"])  # fmt: skip
def test_killed_at_every_point_the_jail_ends_on_one_of_the_two_releases(
    site: RealSite, request_: Request, begin: str, end: str, record_points: Callable[[str, int], None]
) -> None:
    if request_ is not to_two:
        require_time_for(site)
    go_to(site, begin)
    before = site.look()
    points = points_of(site, lambda killer: site.execute(request_, killer))
    after = site.look()
    assert (before["page"], after["page"]) == (begin, end)
    ends = set()
    for number, point in enumerate(points, 1):
        go_to(site, begin)
        status = site.execute(request_, Killer(number))
        assert status == -9 or "during" in point, f"not killed at {point}"
        assert site.recover() == 0, point
        found = site.look()
        assert found in (before, after), f"killed {point}"
        ends.add(found["page"])
        seen = found, site.look()
        assert site.recover() == 0, point
        assert site.look() == seen[1], f"a second recovery changed something after {point}"
    record_points(f"SIGKILL during a real {request_.__name__} under {site.driver}", len(points))
    assert ends == {begin, end}
    assert len(points) > 30


@pytest.mark.parametrize("step", ["snapshot of", "moving the mount", "start"])
def test_a_recovery_killed_at_each_of_its_points_is_recovered_too(
    site: RealSite, step: str, record_points: Callable[[str, int], None]
) -> None:
    require_time_for(site)
    words = STARTS[site.driver] if step == "start" else step
    go_to(site, "one")
    before = site.look()
    points = points_of(site, lambda killer: site.execute(to_two, killer))
    after = site.look()
    at = next(n for n, point in enumerate(points, 1) if point.startswith("after ") and words in point)
    at += step == "start"  # nspawn is still starting the jail then: once that is done, before it is written down

    def crash() -> None:
        go_to(site, "one")
        assert site.execute(to_two, Killer(at)) == -9

    crash()
    inner = points_of(site, site.recover)
    for number, point in enumerate(inner, 1):
        crash()
        status = site.recover(Killer(number))
        assert status == -9 or "during" in point, f"not killed at {point}"
        assert site.recover() == 0, point
        assert site.look() in (before, after), f"recovery killed {point}"
    record_points(f"SIGKILL during the recovery of an upgrade killed after {step} under {site.driver}", len(inner))
    assert len(inner) > 2
