"""What a plan says of the secrets of a jail: which file, and what was in it."""

from collections.abc import Sequence

from commands.drivers.secret_files import Secrets
from commands.drivers.values import SecretFile
from commands.errors import Refused
from commands.transactions.plan import Deployment, JailSettled


def present_secrets(secrets: Secrets, path: str | None, past: Sequence[SecretFile | None]) -> SecretFile | None:
    """The file at ``path`` as it is now, named as in the ``past`` if it is the same. Raises DriverError."""
    return None if path is None else secrets.reference(path, past)


def past_secrets(settled: JailSettled | None) -> tuple[SecretFile | None, ...]:
    """The secrets of the deployments of a jail, latest first."""
    return tuple(one.jail.secrets for one in (settled.deployment, *reversed(settled.history))) if settled else ()


def with_present_secrets(secrets: Secrets, then: Deployment, past: Sequence[SecretFile | None]) -> Deployment:
    """A deployment of former times with the secrets of today.

    A secret that was changed since is the right one now: to go back to the old one would lock the jail out.
    """
    if then.jail.secrets is None:
        return then
    now = present_secrets(secrets, then.jail.secrets.path, past)
    return then.model_copy(update={"jail": then.jail.model_copy(update={"secrets": now})})


def require_same_secrets(secrets: Secrets, settled: JailSettled) -> None:
    """Raise Refused if what the jail would be started with is not what it was deployed with."""
    now = settled.deployment
    if with_present_secrets(secrets, now, past_secrets(settled)) != now and now.jail.secrets is not None:
        raise Refused(
            f"cannot start {now.jail.name}: the secrets in {now.jail.secrets.path} were changed since it was deployed",
            remedy=f"take them with `rootswap upgrade {now.jail.name}`, then start it",
        )
