"""The planners: pure functions from what is configured, settled and seen to a plan.

Every decision of a transaction is taken here. What a planner needs to know of the host is handed to it as ``Seen``, so
that the same plan can be made, printed and rehearsed without touching anything.
"""

from dataclasses import dataclass, field

from commands.config import Config, HealthConfig, JailConfig, TemplateConfig
from commands.drivers.base import (
    HealthCheck,
    JailSpec,
    MountedVolume,
    Network,
    PoolSpec,
    Recipe,
    Storage,
    Volume,
)
from commands.drivers.values import SecretFile
from commands.steps import AnyStep
from commands.steps.build_template import BuildTemplate
from commands.steps.check_health import CheckHealth
from commands.steps.create_pool import CreatePool
from commands.steps.create_volumes import CreateVolumes
from commands.steps.forget_release import ForgetRelease
from commands.steps.mount_pool import MountPool
from commands.steps.remount_root import RemountRoot
from commands.steps.retire_release import RetireRelease
from commands.steps.snapshot_volumes import SnapshotVolumes
from commands.steps.stage_root import StageRoot
from commands.steps.start_jail import StartJail
from commands.steps.stop_jail import StopJail
from commands.steps.take_snapshot import TakeSnapshot
from commands.transactions.plan import Deployment, JailSettled, Kind, Plan, PoolSettled, TemplateSettled
from commands.transactions.pool import pool_spec
from ledger.names import Name, ReleaseName, TransactionId, template_of

#: How many deployments a jail can be rolled back through.
HISTORY_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Seen:
    """What preflight saw of a jail: whether it runs, whether its root is mounted, and which volumes there are."""

    running: bool = False
    mounted: bool = False
    volumes: frozenset[Name] = field(default_factory=frozenset)


def jail_root(config: Config, jail: Name) -> str:
    """Where the root of a jail is mounted."""
    return f"{config.state_directory}/jails/{jail}/root"


def jail_stage(config: Config, jail: Name) -> str:
    """Where the next root of a jail is mounted while the present one serves."""
    return f"{config.state_directory}/jails/{jail}/stage"


def deployment(
    config: Config, storage: Storage, jail: Name, release: ReleaseName, secrets: SecretFile | None = None
) -> Deployment:
    """A jail on a release, as it is configured now; ``secrets`` is what its file holds now."""
    wanted = config.find_jail(jail)
    volumes = tuple(
        MountedVolume(name=name, source=storage.volume_path(jail, name), path=path) for name, path in _volumes(wanted)
    )
    spec = JailSpec(
        driver=wanted.driver,
        name=jail,
        root=jail_root(config, jail),
        command=wanted.command,
        volumes=volumes,
        network=Network.model_validate(wanted.network.model_dump()),
        environment=tuple(sorted(wanted.environment.items())),
        stop_signal=wanted.stop_signal,
        stop_timeout_s=wanted.stop_timeout_s,
        start_timeout_s=wanted.start_timeout_s,
        settings=wanted.settings,
        runtime=wanted.runtime,
        secrets=secrets,
    )
    checks = tuple(_health_check(name, check) for name, check in sorted(wanted.health.items()))
    return Deployment(release=release, jail=spec, checks=checks)


def plan_init(transaction: TransactionId, config: Config) -> Plan:
    """Create the pool."""
    pool = pool_spec(config)
    return _pool_plan(transaction, "init", None, CreatePool(pool=pool), pool)


def plan_mount(transaction: TransactionId, settled: PoolSettled) -> Plan:
    """Mount the pool after a reboot."""
    return _pool_plan(transaction, "mount", settled, MountPool(pool=settled.pool), settled.pool)


def plan_build(transaction: TransactionId, config: Config, template: Name, settled: TemplateSettled | None) -> Plan:
    """Build a template from nothing and take a release of it."""
    recipe = _bootstrap_recipe(config.find_template(template))
    return _template_plan(transaction, "build", template, settled, None, recipe)


def plan_template_upgrade(
    transaction: TransactionId, config: Config, template: Name, settled: TemplateSettled, script: str | None
) -> Plan:
    """Upgrade a copy of the template's head, by ``script`` where one is given, and take a release of it."""
    recipe = _upgrade_recipe(config.find_template(template), script)
    return _template_plan(transaction, "upgrade-template", template, settled, settled.head, recipe)


def plan_swap(
    transaction: TransactionId, kind: Kind, config: Config, settled: JailSettled | None, new: Deployment, seen: Seen
) -> Plan:
    """Bring a jail to another deployment: deploy (nothing settled yet), upgrade, or roll back.

    A jail that the administrator has stopped is switched and stays stopped.
    """
    jail = new.jail
    old = settled.deployment if settled else None
    running = settled.running if settled else True
    stage = jail_stage(config, jail.name)
    steps: list[AnyStep] = []
    quotas = config.jail[jail.name].quotas if jail.name in config.jail else {}
    missing = tuple(
        Volume(name=one.name, path=one.path, quota_bytes=quotas.get(one.name))
        for one in jail.volumes
        if one.name not in seen.volumes
    )
    if missing:
        steps.append(CreateVolumes(jail=jail.name, volumes=missing, release=new.release))
    current = old.release if old and seen.mounted else None
    swaps = current != new.release  # else only the configuration changes, and the root stays where it is
    if swaps:
        steps.append(StageRoot(release=new.release, path=stage, jail=jail))
    if old and seen.running:
        steps.append(StopJail(jail=old.jail, release=old.release, checks=old.checks))
    kept = tuple(one.name for one in old.jail.volumes if one.name in seen.volumes) if old else ()
    if kept:
        steps.append(SnapshotVolumes(jail=jail.name, volumes=kept, snapshot=transaction))
    if swaps:
        steps.append(RemountRoot(jail=jail.name, path=jail.root, stage=stage, current=current, target=new.release))
    if running:
        steps.extend(_start(new))
    history = _history(kind, settled)
    return Plan(
        transaction=transaction,
        kind=kind,
        target=f"jail:{jail.name}",
        before=settled,
        after=JailSettled(deployment=new, history=history, running=running),
        steps=tuple(steps),
        budget_s=config.jail[jail.name].budget_s if jail.name in config.jail else 900.0,
    )


def plan_start(transaction: TransactionId, config: Config, settled: JailSettled, seen: Seen) -> Plan:
    """Start a jail that the administrator had stopped."""
    steps = (*_mount(config, settled, seen), *_start(settled.deployment))
    return _state_plan(transaction, "start", settled, steps, running=True)


def plan_stop(transaction: TransactionId, settled: JailSettled) -> Plan:
    """Stop a jail and keep it stopped."""
    now = settled.deployment
    stop = StopJail(jail=now.jail, release=now.release, checks=now.checks)
    return _state_plan(transaction, "stop", settled, (stop,), running=False)


def plan_restore(transaction: TransactionId, config: Config, settled: JailSettled, seen: Seen) -> Plan:
    """After a reboot: mount the root of a jail and start the jail if it ran.

    There is no health check in it: a jail that is slow after a power cut is better left running than stopped again.
    """
    now = settled.deployment
    start = (StartJail(jail=now.jail, release=now.release),) if settled.running and not seen.running else ()
    steps = (*_mount(config, settled, seen), *start)
    return _state_plan(transaction, "restore", settled, steps, running=settled.running)


def plan_destroy_release(transaction: TransactionId, release: ReleaseName, *, is_there: bool) -> Plan:
    """Retire a release; the engine destroys what is in the trash after the commit. What is gone is only recorded."""
    step = RetireRelease(release=release, by=transaction) if is_there else ForgetRelease(release=release)
    return Plan(
        transaction=transaction,
        kind="destroy-release",
        target=f"release:{template_of(release)}",
        before=None,
        after=None,
        steps=(step,),
    )


def _start(new: Deployment) -> tuple[AnyStep, ...]:
    return (
        StartJail(jail=new.jail, release=new.release),
        CheckHealth(jail=new.jail, release=new.release, checks=new.checks),
    )


def _mount(config: Config, settled: JailSettled, seen: Seen) -> tuple[AnyStep, ...]:
    if seen.mounted:
        return ()
    now = settled.deployment
    stage = jail_stage(config, now.jail.name)
    return (RemountRoot(jail=now.jail.name, path=now.jail.root, stage=stage, current=None, target=now.release),)


def _history(kind: Kind, settled: JailSettled | None) -> tuple[Deployment, ...]:
    if settled is None:
        return ()
    if kind == "rollback":
        return settled.history[:-1]
    return (*settled.history, settled.deployment)[-HISTORY_LENGTH:]


def _state_plan(
    transaction: TransactionId, kind: Kind, settled: JailSettled, steps: tuple[AnyStep, ...], *, running: bool
) -> Plan:
    return Plan(
        transaction=transaction,
        kind=kind,
        target=f"jail:{settled.deployment.jail.name}",
        before=settled,
        after=settled.model_copy(update={"running": running}),
        steps=steps,
    )


def _pool_plan(
    transaction: TransactionId, kind: Kind, settled: PoolSettled | None, step: AnyStep, pool: PoolSpec
) -> Plan:
    return Plan(
        transaction=transaction,
        kind=kind,
        target="pool:main",
        before=settled,
        after=PoolSettled(pool=pool),
        steps=(step,),
    )


def _template_plan(
    transaction: TransactionId,
    kind: Kind,
    template: Name,
    settled: TemplateSettled | None,
    base: TransactionId | None,
    recipe: Recipe,
) -> Plan:
    release = f"{template}@{transaction}"
    return Plan(
        transaction=transaction,
        kind=kind,
        target=f"template:{template}",
        before=settled,
        after=TemplateSettled(head=transaction, release=release),
        steps=(
            BuildTemplate(template=template, head=transaction, base=base, recipe=recipe),
            TakeSnapshot(release=release, head=transaction),
        ),
    )


def _bootstrap_recipe(template: TemplateConfig) -> Recipe:
    return Recipe(
        method=template.bootstrap,
        suite=template.suite,
        packages=template.packages,
        sources=template.sources,
        file=template.file,
        sha256=template.sha256,
        timeout_s=template.timeout_s,
    )


def _upgrade_recipe(template: TemplateConfig, script: str | None) -> Recipe:
    if script or template.upgrade == "script":
        return Recipe(method="inside", file=script or template.upgrade_script, timeout_s=template.timeout_s)
    return Recipe(method="apt", packages=template.packages, sources=template.sources, timeout_s=template.timeout_s)


def _volumes(jail: JailConfig) -> list[tuple[Name, str]]:
    return sorted(jail.volumes.items(), key=lambda volume: volume[1])


def _health_check(name: Name, check: HealthConfig) -> HealthCheck:
    return HealthCheck(name=name, **check.model_dump())
