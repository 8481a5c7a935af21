"""Run a plan on memory drivers, forward and back, before anybody runs it for real.

``--dry-run`` shows what this proves: every step goes through, leaves what it promises, and its undo brings the world
back to where it was. The world is furnished with what the plan itself says is there.
"""

from commands.drivers.base import Drivers, JailSpec, Presence
from commands.drivers.memory import MemoryWorld
from commands.errors import Refused
from commands.steps import AnyStep
from commands.transactions.plan import JailSettled, Plan


def rehearse(plan: Plan) -> None:
    """Go through the plan and back on memory drivers. Raises Refused when a step does not keep its promise."""
    world = _furnish(plan)
    before = dict(world.state)
    drivers = world.drivers()
    for step in plan.steps:
        step.run(drivers)
        _require(step, drivers, Presence.PRESENT if step.changes_host else Presence.ABSENT)
    for step in reversed(plan.steps):
        step.undo(drivers)
        _require(step, drivers, Presence.ABSENT)
    after = {key: value for key, value in world.state.items() if "+unwound" not in key}
    if after != before:
        raise Refused(f"cannot rehearse the plan of {plan.target}: it does not come back to where it began")


def _require(step: AnyStep, drivers: Drivers, wanted: Presence) -> None:
    found = step.probe(drivers)
    if found is not wanted:
        raise Refused(f"cannot rehearse step {step.kind}: its effect is {found} where it should be {wanted}")


def _furnish(plan: Plan) -> MemoryWorld:
    world = MemoryWorld(drivers_of_jails=frozenset(_runtimes(plan)))
    if plan.kind not in ("init", "mount"):
        world.state["mount:pool"] = "pool"
    for step in plan.steps:
        _furnish_step(world.state, step)
    mounts = any(step.kind == "remount_root" for step in plan.steps)
    for step in plan.steps:
        if step.kind == "start_jail" and not mounts:
            world.state[f"mount:{step.jail.root}"] = step.release
    settled = plan.before
    if isinstance(settled, JailSettled):
        for volume in settled.deployment.jail.volumes:
            world.state.setdefault(f"volume:{settled.deployment.jail.name}:{volume.name}", "data")
    for step in plan.steps:
        if step.kind == "create_volumes":
            for one in step.volumes:
                world.state.pop(f"volume:{step.jail}:{one.name}", None)
    return world


def _furnish_step(state: dict[str, str], step: AnyStep) -> None:
    match step.kind:
        case "build_template" if step.base is not None:
            state[f"template:{step.template}:{step.base}"] = f"root {step.base}"
        case "stage_root" | "start_jail" | "retire_release" | "create_volumes":
            state[f"release:{step.release}"] = "root"
        case "remount_root":
            for release in (step.current, step.target):
                if release is not None:
                    state[f"release:{release}"] = "root"
            if step.current is not None:
                state[f"mount:{step.path}"] = step.current
        case "stop_jail":
            state[f"release:{step.release}"] = "root"
            state[f"mount:{step.jail.root}"] = step.release
            state[f"jail:{step.jail.name}"] = step.release
        case _:
            pass


def _runtimes(plan: Plan) -> set[str]:
    specs: list[JailSpec] = [step.jail for step in plan.steps if step.kind in {"stop_jail", "start_jail"}]
    return {spec.driver for spec in specs}
