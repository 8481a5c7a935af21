"""From a wish to a plan: preflight looks at the host and refuses, or hands what it saw to a planner.

A refusal comes with a reason and a remedy. Nothing here changes anything.
"""

from commands.drivers.base import Presence
from commands.drivers.values import SecretFile
from commands.errors import Refused, UsageError
from commands.transactions.plan import (
    JailSettled,
    Plan,
    jail_settled,
)
from commands.transactions.planners import (
    deployment,
    plan_build,
    plan_destroy_release,
    plan_init,
    plan_start,
    plan_stop,
    plan_swap,
    plan_template_upgrade,
)
from commands.transactions.pool import pool_spec
from commands.transactions.preflight import Preflight
from commands.transactions.release_records import is_recorded_as_there
from commands.transactions.secret_refs import (
    past_secrets,
    present_secrets,
    require_same_secrets,
    with_present_secrets,
)
from ledger.names import template_of


class Requests(Preflight):
    """Makes plans for one configuration on one host. Raises Refused, UsageError, TargetBusy and driver errors."""

    #: The secrets of a plan that waits, which a new plan names in the same way.
    _known: SecretFile | None = None

    def again(self, plan: Plan) -> Plan | None:
        """What would be planned now in place of ``plan``, under its own identifier; None when nothing is to be done."""
        same = Requests(self._ledger, self._drivers, self._config, lambda: plan.transaction)
        same._known = plan.after.deployment.jail.secrets if isinstance(plan.after, JailSettled) else None
        subject = plan.target.partition(":")[2]
        match plan.kind:
            case "deploy" | "upgrade":
                release = plan.after.deployment.release if isinstance(plan.after, JailSettled) else None
                return same.upgrade(subject, release)
            case "rollback":
                return same.rollback(subject)
            case "start":
                return same.start(subject)
            case "stop":
                return same.stop(subject)
            case "destroy-release":
                return same.destroy_release(plan.released or "")
            case _:
                raise UsageError(f"cannot plan {plan.kind} ahead", remedy="run it at once")

    def init(self) -> Plan | None:
        """Create the pool; None when it is there."""
        self._require_idle("pool:main")
        pool = pool_spec(self._config)
        settled = self._pool()
        if settled is not None and settled.pool != pool:
            raise Refused(
                f"cannot move the pool to {pool.path}: it was created at {settled.pool.path}",
                remedy="put the [storage] table back as it was",
            )
        presence = self._drivers.storage.pool_presence(pool)
        if settled is not None and presence is Presence.PRESENT:
            return None
        if settled is not None:
            raise Refused(
                f"cannot create the pool at {pool.path} a second time: it is not mounted or not whole",
                remedy="run `rootswap recover`, which mounts it",
            )
        if presence is Presence.FOREIGN:
            raise Refused(
                f"cannot create the pool at {pool.path}: what is there is not ours",
                remedy="choose another path, image or data set in the [storage] table",
            )
        return plan_init(self._new_id(), self._config)

    def build(self, template: str, *, again: bool = False) -> Plan:
        """Build a template from nothing; ``again``, though it is there: jails stay on the releases that were taken."""
        self._config.find_template(template)
        self._require_ready(f"template:{template}")
        settled = self._template(template)
        if settled is not None and not again and self._head_is_there(template, settled):
            raise Refused(
                f"cannot build template {template}: it is already there",
                remedy=f"upgrade it with `rootswap template upgrade {template}`, or build it anew, as from a new "
                f"archive, with `rootswap template build {template} --again`",
            )
        self._require_space()
        plan = plan_build(self._new_id(), self._config, template, settled)
        return self._with_recipe_checked(plan)

    def upgrade_template(self, template: str, script: str | None) -> Plan:
        """Upgrade a template offline."""
        self._config.find_template(template)
        self._require_ready(f"template:{template}")
        settled = self._template(template)
        if settled is None:
            raise Refused(
                f"cannot upgrade template {template}: it is not built yet",
                remedy=f"build it with `rootswap template build {template}`",
            )
        if not self._head_is_there(template, settled):
            raise Refused(
                f"cannot upgrade template {template}: its head {settled.head} is gone or not ours",
                remedy=f"build it anew with `rootswap template build {template}`",
            )
        self._require_space()
        plan = plan_template_upgrade(self._new_id(), self._config, template, settled, script)
        return self._with_recipe_checked(plan)

    def upgrade(self, jail: str, release: str | None) -> Plan | None:
        """Deploy or upgrade a jail; None when it is already as wanted."""
        wanted = self._config.find_jail(jail)
        self._require_ready(f"jail:{jail}")
        release = self._latest_release(wanted.template) if release is None else release
        self._require_release(release)
        self._require_space()
        settled = self._jail(jail)
        past = (self._known, *past_secrets(settled))
        secrets = present_secrets(self._drivers.secrets, wanted.environment_file, past)
        new = deployment(self._config, self._drivers.storage, jail, release, secrets)
        seen = self._see(new, settled)
        if settled is not None and settled.deployment == new:
            self._require_serving(jail, settled, seen)
            return None
        return plan_swap(self._new_id(), "upgrade" if settled else "deploy", self._config, settled, new, seen)

    def rollback(self, jail: str) -> Plan:
        """Bring a jail back to the deployment before the present one."""
        self._config.find_jail(jail)
        self._require_ready(f"jail:{jail}")
        settled = self._deployed(jail)
        if not settled.history:
            raise Refused(
                f"cannot roll back {jail}: it has been on no other release before {settled.deployment.release}",
                remedy=f"choose one with `rootswap upgrade {jail} --to RELEASE`; see `rootswap release list`",
            )
        past = (self._known, *past_secrets(settled))
        new = with_present_secrets(self._drivers.secrets, settled.history[-1], past)
        self._require_release(new.release)
        self._require_room_for_snapshots()
        return plan_swap(self._new_id(), "rollback", self._config, settled, new, self._see(new, settled))

    def start(self, jail: str) -> Plan | None:
        """Start a jail; None when it runs."""
        settled, seen = self._look_at(jail)
        if settled.running and seen.running:
            return None
        if seen.running:
            raise Refused(
                f"cannot start {jail}: it already runs, though the ledger says that it was stopped",
                remedy=f"stop it with `rootswap jail stop {jail}` and start it again",
            )
        require_same_secrets(self._drivers.secrets, settled)
        return plan_start(self._new_id(), self._config, settled, seen)

    def stop(self, jail: str) -> Plan | None:
        """Stop a jail; None when it is stopped."""
        self._require_ready(f"jail:{jail}")
        settled = self._deployed(jail)
        # On whatever root it runs: stopping is the remedy for a jail that runs on the wrong one.
        if not settled.running and self._has_stopped(settled.deployment):
            return None
        return plan_stop(self._new_id(), settled)

    def destroy_release(self, release: str) -> Plan:
        """Retire a release that no jail is on and that no jail would be rolled back to."""
        self._require_release_name(release)
        self._require_ready(f"release:{template_of(release)}")
        presence = self._drivers.storage.release_presence(release)
        if presence is Presence.FOREIGN:
            raise Refused(
                f"cannot destroy release {release}: what is in its place is not ours", remedy="move it away yourself"
            )
        if presence is Presence.ABSENT and not is_recorded_as_there(self._ledger, release):
            raise UsageError(f"cannot find release {release}", remedy="see `rootswap release list`")
        latest = self._template(template_of(release))
        if latest is not None and latest.release == release:
            raise Refused(
                f"cannot destroy release {release}: it is the latest of its template",
                remedy=f"take a newer one first with `rootswap template upgrade {template_of(release)}`",
            )
        for target, stored in self._ledger.settled_targets().items():
            if not target.startswith("jail:"):
                continue
            settled = jail_settled(stored)
            if settled is not None:
                self._require_unused(release, target.partition(":")[2], settled)
        self._require_not_planned(release)
        return plan_destroy_release(self._new_id(), release, is_there=presence is Presence.PRESENT)

    def _with_recipe_checked(self, plan: Plan) -> Plan:
        for step in plan.steps:
            if step.kind == "build_template":
                base = None if step.base is None else self._drivers.storage.template_path(step.template, step.base)
                self._drivers.builder.preflight(step.recipe, base)
        return plan
