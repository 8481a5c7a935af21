"""The laws of a step, for every step of every plan.

run makes it PRESENT; undo makes it ABSENT and puts the host back; both may be repeated; undo works from any half-way
house; a probe changes nothing; what is foreign stays as it is; a step survives JSON.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from commands.drivers.base import Drivers, Presence
from commands.drivers.memory import MemoryWorld
from commands.errors import Foreign
from commands.steps import ALL_STEPS, AnyStep
from commands.steps.mount_pool import MountPool
from commands.steps.remount_root import RemountRoot
from commands.steps.step import Step
from commands.transactions.pool import pool_spec
from ledger.errors import RootswapError
from tests.recovery.test_crash_points import SCENARIOS, Stage
from tests.site import CONFIG, Crash, Script

ADAPTER: TypeAdapter[AnyStep] = TypeAdapter(AnyStep)


class Case:
    """A step, and the world as it is when its turn comes."""

    def __init__(self, step: Step, world: MemoryWorld) -> None:
        self.step = step
        self._state = dict(world.state)
        self._world = world

    def world(self) -> tuple[MemoryWorld, Drivers]:
        world = MemoryWorld(state=dict(self._state), clock=self._world.clock, drivers_of_jails=frozenset({"lxc"}))
        return world, world.drivers()

    def host(self, world: MemoryWorld) -> dict[str, str]:
        """Without what a step may leave: kept data snapshots, and the staged mount that the switch uses up."""
        used_up = ("/stage",) if self.step.kind == "remount_root" else ()
        return {
            key: value
            for key, value in world.state.items()
            if "+unwound" not in key and not (used_up and key.endswith(used_up))
        }

    def before(self) -> dict[str, str]:
        return self.host(self.world()[0])


def cases(directory: Path) -> Iterator[Case]:
    for name in SCENARIOS:
        if name == "upgrade to a broken release":
            continue
        stage = Stage(name, directory / name.replace(" ", "-"))
        world = stage.site.world
        for step in stage.plan.steps:
            yield Case(step, world)
            step.run(world.drivers())
    world = MemoryWorld(state={"pool:/memory/pool": "laid out"})
    yield Case(MountPool(pool=pool_spec(CONFIG)), world)


@pytest.fixture(scope="module")
def all_cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return list(cases(tmp_path_factory.mktemp("laws")))


def test_every_step_has_a_case(all_cases: list[Case]) -> None:
    assert {type(case.step) for case in all_cases} == set(ALL_STEPS)


def test_a_probe_changes_nothing(all_cases: list[Case]) -> None:
    for case in all_cases:
        world, drivers = case.world()
        case.step.probe(drivers)
        assert world.state == case.world()[0].state, case.step.kind


def test_run_makes_it_present_and_twice_is_once(all_cases: list[Case]) -> None:
    for case in all_cases:
        world, drivers = case.world()
        assert case.step.probe(drivers) is Presence.ABSENT, case.step.kind
        case.step.run(drivers)
        first = dict(world.state)
        wanted = Presence.PRESENT if case.step.changes_host else Presence.ABSENT
        assert case.step.probe(drivers) is wanted, case.step.kind
        assert (first != case.world()[0].state) == case.step.changes_host, case.step.kind
        case.step.run(drivers)
        assert world.state == first, case.step.kind
        case.step.fact(drivers)


def test_undo_puts_the_host_back_and_twice_is_once(all_cases: list[Case]) -> None:
    for case in all_cases:
        world, drivers = case.world()
        case.step.run(drivers)
        for _ in range(2):
            case.step.undo(drivers)
            assert case.step.probe(drivers) is Presence.ABSENT, case.step.kind
            assert case.host(world) == case.before(), case.step.kind


def test_undo_works_from_every_half_way_house(all_cases: list[Case]) -> None:
    half_ways = 0
    for case in all_cases:
        point = 0
        while True:
            point += 1
            world, drivers = case.world()
            world.gate = Script(point, only="after ")
            try:
                case.step.run(drivers)
                break
            except Crash:
                pass
            world.gate = lambda _point: None
            half_ways += case.step.probe(drivers) is Presence.PARTIAL
            case.step.undo(drivers)
            assert case.step.probe(drivers) is Presence.ABSENT, case.step.kind
            assert case.host(world) == case.before(), case.step.kind
    assert half_ways >= 4, "no step was ever caught half way"


def test_what_is_foreign_is_seen_and_stays_as_it_is(all_cases: list[Case]) -> None:
    tried = 0
    for case in all_cases:
        done, drivers = case.world()
        case.step.run(drivers)
        for key in done.state.keys() - case.world()[0].state.keys():
            if key.startswith("jail:"):
                continue  # a foreign jail is one that runs on another root: below
            world, drivers = case.world()
            world.state[key] = "foreign"
            tried += 1
            if not (case.step.kind == "create_pool" and key.startswith("mount:")):
                assert case.step.probe(drivers) in (Presence.FOREIGN, Presence.ABSENT), (case.step.kind, key)
            for act in (case.step.run, case.step.undo):
                with suppress(RootswapError):
                    act(drivers)
                assert world.state[key] == "foreign", (case.step.kind, key)
    assert tried >= 8


def test_a_jail_on_another_root_is_foreign(all_cases: list[Case]) -> None:
    starts = [case for case in all_cases if case.step.kind == "start_jail"]
    assert starts
    for case in starts:
        world, drivers = case.world()
        world.state["jail:web"] = world.state["jail:mail"] = "debian@somebody-elses"
        assert case.step.probe(drivers) is Presence.FOREIGN


def test_a_root_is_not_changed_while_something_foreign_is_mounted_there(all_cases: list[Case]) -> None:
    for case in all_cases:
        if not isinstance(case.step, RemountRoot):
            continue
        world, drivers = case.world()
        world.state[f"mount:{case.step.path}"] = "somebody else's disk"
        assert case.step.probe(drivers) is Presence.FOREIGN
        with pytest.raises(Foreign):
            case.step.run(drivers)
        with pytest.raises(Foreign):
            case.step.undo(drivers)


def test_a_step_survives_json(all_cases: list[Case]) -> None:
    for case in all_cases:
        assert ADAPTER.validate_json(case.step.model_dump_json()) == case.step


def test_a_step_says_what_it_does_and_what_its_undo_does(all_cases: list[Case]) -> None:
    for case in all_cases:
        for words in (case.step.forward_words(), case.step.undo_words()):
            assert words and "\n" not in words and words[0].islower() and not words.endswith(".")
