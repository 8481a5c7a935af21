"""The ZFS driver is killed before, after and within each command: what is left is never FOREIGN and can be undone."""

from collections.abc import Callable

import pytest

from commands.drivers.base import Presence, Volume
from tests.fakes.world import Platform
from tests.fakes.zfs_pool import HOME, FakePool, fake_pool

HEAD, NEXT, TX, NEW = "aaaaaaaa", "bbbbbbbb", "dddddddd", "eeeeeeee"
RELEASE, NEWER = f"debian@{TX}", f"debian@{NEW}"
LOG = Volume(name="log", path="/var/log/nginx")

Act = Callable[[FakePool], None]
CHANGES: dict[str, tuple[Act, Act, Callable[[FakePool], Presence]]] = {
    "build a template": (
        lambda pool: _build(pool),
        lambda pool: pool.storage.destroy_template("debian", NEXT),
        lambda pool: pool.storage.template_presence("debian", NEXT),
    ),
    "take a release": (
        lambda pool: pool.storage.take_release(NEWER, HEAD),
        lambda pool: pool.storage.destroy_release(NEWER),
        lambda pool: pool.storage.release_presence(NEWER),
    ),
    "retire a release": (
        lambda pool: pool.storage.retire_release(RELEASE, NEW),
        lambda pool: pool.storage.restore_release(RELEASE, NEW),
        lambda pool: pool.storage.retired_presence(RELEASE, NEW),
    ),
    "create a volume": (
        lambda pool: pool.storage.create_volume("web", LOG, RELEASE),
        lambda pool: pool.storage.destroy_volume("web", "log"),
        lambda pool: pool.storage.volume_presence("web", "log"),
    ),
    "create the pool": (
        lambda pool: pool.storage.create_pool(pool.spec),
        lambda pool: pool.storage.destroy_pool(pool.spec),
        lambda pool: pool.storage.pool_presence(pool.spec),
    ),
}


def _build(pool: FakePool) -> None:
    if pool.storage.template_presence("debian", NEXT) is not Presence.PRESENT:
        pool.storage.begin_template("debian", NEXT, HEAD)
        pool.storage.finish_template("debian", NEXT)


def _points(pool: FakePool, act: Act) -> list[tuple[str, bytes]]:
    """The world at each point of ``act``."""
    seen: list[tuple[str, bytes]] = []
    pool.world.gate = lambda point: seen.append((point, pool.world.save()))
    act(pool)
    pool.world.gate = lambda _point: None
    return seen


@pytest.mark.parametrize("platform", ["freebsd", "linux"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_is_killed_anywhere_can_be_undone_and_done_again(name: str, platform: Platform) -> None:
    act, undo, probe = CHANGES[name]
    with fake_pool(platform, create=name != "create the pool") as pool:
        if name != "create the pool":
            pool.build("debian", HEAD)
            pool.storage.take_release(RELEASE, HEAD)
        before = _seen(pool)
        points = _points(pool, act)
        assert len(points) >= 4
        for point, world in points:
            pool.world.restore(world)
            assert probe(pool) is not Presence.FOREIGN, point
            undo(pool)
            assert (probe(pool), _seen(pool)) == (Presence.ABSENT, before), point
            pool.world.restore(world)
            if probe(pool) is Presence.PARTIAL:
                undo(pool)
            act(pool)
            assert probe(pool) is Presence.PRESENT, point


@pytest.mark.parametrize("platform", ["freebsd", "linux"])
@pytest.mark.parametrize("name", CHANGES)
def test_an_undo_that_is_killed_anywhere_can_be_repeated(name: str, platform: Platform) -> None:
    act, undo, probe = CHANGES[name]
    with fake_pool(platform, create=name != "create the pool") as pool:
        if name != "create the pool":
            pool.build("debian", HEAD)
            pool.storage.take_release(RELEASE, HEAD)
        before = _seen(pool)
        act(pool)
        points = _points(pool, undo)
        assert len(points) >= 3
        for point, world in points:
            pool.world.restore(world)
            assert probe(pool) is not Presence.FOREIGN, point
            undo(pool)
            assert (probe(pool), _seen(pool)) == (Presence.ABSENT, before), point


def _seen(pool: FakePool) -> dict[str, str]:
    """The world without the directories that are left of mount points."""
    told = pool.world.picture().items()
    return {key: value for key, value in told if not key.startswith("file ") and key != f"content {HOME}"}
