"""What a step did to the host.

Facts are apart from events: events tell what happened to the transaction and are the same for every step; a fact tells
what changed on the host. A new step adds a fact here, never an event. Each fact carries ``before`` and ``after``, the
two ends of the change in the words of the plan, so that an auditor reads every change the same way.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ledger.names import Name, ReleaseName, TransactionId


class FactBase(BaseModel):
    """The two ends of a change; None where there was or is nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    before: str | None
    after: str | None


class PoolCreated(FactBase):
    """A storage pool was laid out at ``path``; ``image`` is the sparse file that holds it, if we made one."""

    fact: Literal["pool-created"] = "pool-created"
    path: str
    image: str | None
    size_bytes: int | None


class PoolMounted(FactBase):
    """The file system of the pool was mounted at ``path``."""

    fact: Literal["pool-mounted"] = "pool-mounted"
    path: str


class TemplateBuilt(FactBase):
    """A template got a new head, built from nothing or upgraded from ``base``."""

    fact: Literal["template-built"] = "template-built"
    template: Name
    head: TransactionId
    base: TransactionId | None
    packages: dict[str, str] = {}


class SnapshotTaken(FactBase):
    """A release was taken; ``fingerprint`` is the storage's own evidence that it has not changed since."""

    fact: Literal["snapshot-taken"] = "snapshot-taken"
    release: ReleaseName
    fingerprint: str


class ReleaseRetired(FactBase):
    """A release was taken out of use; its space comes back after the commit."""

    fact: Literal["release-retired"] = "release-retired"
    release: ReleaseName


class VolumesCreated(FactBase):
    """Read-write volumes of a jail were created and filled from a release."""

    fact: Literal["volumes-created"] = "volumes-created"
    jail: Name
    volumes: tuple[Name, ...]


class RootStaged(FactBase):
    """The next root of a jail was mounted beside the serving one and looked over."""

    fact: Literal["root-staged"] = "root-staged"
    jail: Name
    release: ReleaseName
    path: str


class JailStopped(FactBase):
    """A jail no longer runs."""

    fact: Literal["jail-stopped"] = "jail-stopped"
    jail: Name


class VolumesSnapshotted(FactBase):
    """The data of a stopped jail was kept as it was at that moment."""

    fact: Literal["volumes-snapshotted"] = "volumes-snapshotted"
    jail: Name
    snapshot: TransactionId
    volumes: tuple[Name, ...]


class RootRemounted(FactBase):
    """Another release is mounted as the root of a jail; ``before`` and ``after`` name the releases."""

    fact: Literal["root-remounted"] = "root-remounted"
    jail: Name
    path: str


class JailStarted(FactBase):
    """A jail runs."""

    fact: Literal["jail-started"] = "jail-started"
    jail: Name


class HealthPassed(FactBase):
    """All health checks of a jail passed."""

    fact: Literal["health-passed"] = "health-passed"
    jail: Name
    checks: tuple[str, ...]


Fact = Annotated[
    PoolCreated
    | PoolMounted
    | TemplateBuilt
    | SnapshotTaken
    | ReleaseRetired
    | VolumesCreated
    | RootStaged
    | JailStopped
    | VolumesSnapshotted
    | RootRemounted
    | JailStarted
    | HealthPassed,
    Field(discriminator="fact"),
]
