"""Preflight: what is settled, what is there, and what is refused before a transaction begins. It changes nothing."""

from collections.abc import Callable

from commands.config import Config
from commands.drivers.base import Drivers, JailState, PoolSpec, Presence
from commands.drivers.stray import stray_mount
from commands.errors import Refused, TransactionIsStuck, UsageError
from commands.remedies import for_stuck
from commands.transactions.plan import (
    Deployment,
    JailSettled,
    PoolSettled,
    TemplateSettled,
    jail_settled,
    template_settled,
)
from commands.transactions.planners import Seen, jail_stage
from commands.transactions.pool import pool_spec
from commands.transactions.release_records import is_recorded_as_there, recorded_fingerprint
from ledger.errors import TargetBusy
from ledger.lifecycle import State
from ledger.names import is_release
from ledger.writer import LedgerWriter

#: What the ledger's file system must have left at the start: a full disk must not strand a stopped jail.
LEDGER_RESERVE_BYTES = 16 << 20
#: A snapshot of the data needs room as well, on ZFS at least: without it a switch would fail while the jail is down.
SNAPSHOT_RESERVE_BYTES = 1 << 20


class Preflight:
    """Looks at a host and its ledger. Raises Refused, UsageError, TargetBusy and the errors of the drivers."""

    def __init__(self, ledger: LedgerWriter, drivers: Drivers, config: Config, new_id: Callable[[], str]) -> None:
        self._ledger = ledger
        self._drivers = drivers
        self._config = config
        self._new_id = new_id

    # --- what is settled ---

    def _pool(self) -> PoolSettled | None:
        stored = self._ledger.settled("pool:main")
        return None if stored is None else PoolSettled.model_validate(stored)

    def _template(self, template: str) -> TemplateSettled | None:
        return template_settled(self._ledger.settled(f"template:{template}"))

    def _jail(self, jail: str) -> JailSettled | None:
        return jail_settled(self._ledger.settled(f"jail:{jail}"))

    def _deployed(self, jail: str) -> JailSettled:
        settled = self._jail(jail)
        if settled is None:
            self._config.find_jail(jail)
            raise Refused(f"cannot change {jail}: it is not deployed yet", remedy=f"run `rootswap upgrade {jail}`")
        return settled

    def _latest_release(self, template: str) -> str:
        settled = self._template(template)
        if settled is None:
            raise Refused(
                f"cannot choose a release of template {template}: it is not built yet",
                remedy=f"run `rootswap template build {template}`",
            )
        return settled.release

    def _head_is_there(self, template: str, settled: TemplateSettled) -> bool:
        return self._drivers.storage.template_presence(template, settled.head) is Presence.PRESENT

    # --- what is looked at ---

    def _look_at(self, jail: str) -> tuple[JailSettled, Seen]:
        self._require_ready(f"jail:{jail}")
        settled = self._deployed(jail)
        return settled, self._see(settled.deployment, settled)

    def _see(self, new: Deployment, settled: JailSettled | None) -> Seen:
        """Look at the jail, and refuse where the host is not as the ledger says."""
        jail = new.jail
        self._drivers.jails[jail.driver].preflight(jail)
        layers = self._drivers.mounts.layers(jail.root)
        stage = jail_stage(self._config, jail.name)
        if self._drivers.mounts.layers(stage):
            raise Refused(
                f"cannot stage a root for {jail.name}: something is mounted at {stage}",
                remedy=f"unmount it with `umount {stage}`",
            )
        if settled is None:
            running = self._runs(new)
            if running or layers:
                what = "a jail of that name runs" if running else f"something is mounted at {jail.root}"
                raise Refused(f"cannot deploy {jail.name}: {what}, and it is not ours", remedy="remove it first")
        else:
            self._require_same_place(settled, new)
            self._require_no_drift(settled, layers)
            running = self._runs(settled.deployment)
            self._require_fitting(settled, new, layers)
        return Seen(running=running, mounted=layers > 0, volumes=self._volumes(new, settled))

    def _runs(self, deployed: Deployment) -> bool:
        jail = deployed.jail
        return self._drivers.jails[jail.driver].state(jail) is JailState.RUNNING

    def _has_stopped(self, deployed: Deployment) -> bool:
        """Whether nothing is left of the jail: one that is half stopped has still to be stopped."""
        jail = deployed.jail
        return self._drivers.jails[jail.driver].state(jail) is JailState.STOPPED

    def _volumes(self, new: Deployment, settled: JailSettled | None) -> frozenset[str]:
        """The volumes that are there; one in an unusable state is a reason to refuse."""
        jail = new.jail.name
        wanted = (*new.jail.volumes, *(settled.deployment.jail.volumes if settled else ()))
        known = {volume.name for volume in settled.deployment.jail.volumes} if settled else set()
        found = set()
        for name in {volume.name for volume in wanted}:
            match self._drivers.storage.volume_presence(jail, name):
                case Presence.PRESENT:
                    found.add(name)
                case Presence.FOREIGN:
                    raise Refused(
                        f"cannot use volume {name} of {jail}: what is there is not ours", remedy="move it away"
                    )
                case _ if name in known:
                    raise Refused(
                        f"cannot use volume {name} of {jail}: its data is gone, and is not replaced by an empty one",
                        remedy="put it back from a data snapshot (`rootswap volume list`) or from your backup",
                    )
                case _:
                    pass
        return frozenset(found)

    # --- what is refused ---

    def _require_idle(self, target: str) -> None:
        for transaction, status in self._ledger.open_transactions().items():
            if status.target != target:
                continue
            if status.state is State.STUCK:
                raise TransactionIsStuck(
                    f"cannot change {target}: transaction {transaction} is stuck: {status.cause}",
                    remedy=for_stuck(transaction),
                )
            raise TargetBusy(
                f"cannot change {target}: transaction {transaction} is open", remedy="run `rootswap recover`"
            )
        self._ledger.require_space(LEDGER_RESERVE_BYTES)

    def _require_ready(self, target: str) -> None:
        self._require_idle(target)
        settled = self._pool()
        if settled is None:
            raise Refused("cannot use the pool: it is not created yet", remedy="run `rootswap init`")
        if settled.pool != pool_spec(self._config):
            raise Refused(
                f"cannot use the pool: it was created with {_differences(settled.pool, pool_spec(self._config))}",
                remedy="put the [storage] table back as it was",
            )
        if self._drivers.storage.pool_presence(settled.pool) is not Presence.PRESENT:
            raise Refused(
                f"cannot use the pool at {settled.pool.path}: it is not mounted, or not ours",
                remedy="run `rootswap recover`, which mounts it",
            )

    def _require_space(self) -> None:
        space = self._drivers.storage.space()
        keep = self._config.storage.keep_free
        metadata, reserve = space.metadata_free_bytes, space.metadata_reserve_bytes
        if space.data_free_bytes < keep or (metadata is not None and metadata < reserve):
            raise Refused(
                f"cannot begin: the pool has {space.data_free_bytes >> 20} MiB of data and "
                f"{'?' if metadata is None else metadata >> 10} KiB of metadata left",
                remedy=f"free room with `rootswap release destroy`; at least {keep >> 20} MiB of data and "
                f"{reserve >> 10} KiB of metadata are wanted",
            )

    def _require_room_for_snapshots(self) -> None:
        """Less than ``_require_space``: a rollback has to be possible in a pool that is nearly full."""
        free = self._drivers.storage.space().data_free_bytes
        if free < SNAPSHOT_RESERVE_BYTES:
            raise Refused(
                f"cannot begin: the pool has {free >> 10} KiB of data left, and the snapshot of the data needs room",
                remedy="free room with `rootswap release destroy`, or see `rootswap volume list`",
            )

    def _require_release_name(self, release: str) -> None:
        if not is_release(release):
            raise UsageError(
                f"cannot find release {release[:60]!r}: a release is called TEMPLATE@ID",
                remedy="see `rootswap release list`",
            )

    def _require_release(self, release: str) -> None:
        self._require_release_name(release)
        match self._drivers.storage.release_presence(release):
            case Presence.ABSENT if is_recorded_as_there(self._ledger, release):
                raise Refused(
                    f"cannot use release {release}: it is gone from the pool, and was not destroyed by rootswap",
                    remedy=f"give it up with `rootswap release destroy {release}` and choose another one "
                    "(`rootswap release list`)",
                )
            case Presence.ABSENT:
                raise UsageError(f"cannot find release {release}", remedy="see `rootswap release list`")
            case Presence.PRESENT:
                pass
            case presence:
                raise Refused(
                    f"cannot use release {release}: it is {presence}, not an immutable snapshot of ours",
                    remedy="take a new release with `rootswap template upgrade`",
                )
        recorded = recorded_fingerprint(self._ledger, release)
        if recorded is None:
            raise Refused(
                f"cannot use release {release}: this ledger does not know it", remedy="see `rootswap release list`"
            )
        if recorded != self._drivers.storage.fingerprint(release):
            raise Refused(
                f"cannot use release {release}: it was changed after it was taken",
                remedy="take a new release with `rootswap template upgrade`",
            )

    @staticmethod
    def _require_serving(jail: str, settled: JailSettled, seen: Seen) -> None:
        if settled.running and not (seen.running and seen.mounted):
            raise Refused(
                f"cannot upgrade {jail}: it is on {settled.deployment.release} already, but it does not run",
                remedy="run `rootswap recover`, which starts it",
            )

    @staticmethod
    def _require_same_place(settled: JailSettled, new: Deployment) -> None:
        if settled.deployment.jail.root != new.jail.root:
            raise Refused(
                f"cannot move the root of {new.jail.name} to {new.jail.root}: it is at {settled.deployment.jail.root}",
                remedy="put state_directory back as it was",
            )

    def _require_fitting(self, settled: JailSettled, new: Deployment, layers: int) -> None:
        """A root that stays is not staged: whether the new configuration fits it is looked at here, before any stop."""
        if layers and settled.deployment.release == new.release and settled.deployment != new:
            self._drivers.inspect_root(new.jail.root, new.jail)

    def _require_no_drift(self, settled: JailSettled, layers: int) -> None:
        now = settled.deployment
        source = self._drivers.storage.root_source(now.release)
        runtime = self._drivers.jails[now.jail.driver]
        stray = stray_mount(self._drivers, now.jail, source, layers, runs=settled.running)
        if stray is not None:
            raise Refused(
                f"cannot change {now.jail.name}: what is mounted at {now.jail.root} is not {now.release}",
                remedy=f"look at it with `mount`, then `{stray}`",
            )
        state = runtime.state(now.jail)
        if state is JailState.STOPPED:
            return
        if state is not JailState.RUNNING:
            raise Refused(
                f"cannot change {now.jail.name}: it is half {'started' if state is JailState.STARTING else 'stopped'}, "
                "by somebody's hand: no transaction is open on it",
                remedy=f"run `rootswap recover`, or stop it with `rootswap jail stop {now.jail.name}`",
            )
        if not runtime.runs_on(now.jail, source):
            raise Refused(
                f"cannot change {now.jail.name}: it runs on another root than {now.release}",
                remedy=f"stop it with `rootswap jail stop {now.jail.name}`",
            )

    def _require_unused(self, release: str, jail: str, settled: JailSettled) -> None:
        if settled.deployment.release == release:
            raise Refused(
                f"cannot destroy release {release}: {jail} runs on it", remedy=f"upgrade {jail} to another one first"
            )
        if settled.history and settled.history[-1].release == release:
            raise Refused(
                f"cannot destroy release {release}: it is held, {jail} would be rolled back to it",
                remedy=f"it is let go when {jail} is upgraded once more",
            )

    def _require_not_planned(self, release: str) -> None:
        for transaction, status in self._ledger.open_transactions().items():
            if release in str(status.plan):
                raise TargetBusy(
                    f"cannot destroy release {release}: open transaction {transaction} uses it",
                    remedy="run `rootswap recover`",
                )


def _differences(created: PoolSpec, configured: PoolSpec) -> str:
    """The keys of the pool that are configured otherwise than it was created."""
    now = configured.model_dump()
    return ", ".join(
        f"{key} {value!r}, not {now[key]!r}" for key, value in created.model_dump().items() if value != now[key]
    )
