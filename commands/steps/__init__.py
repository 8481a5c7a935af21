"""The steps: one reversible change of the host per file, where file, class and kind bear the same name.

``ALL_STEPS`` is the table of contents, in the order in which an upgrade meets them.
"""

from typing import Annotated

from pydantic import Field

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

ALL_STEPS = (
    CreatePool,
    MountPool,
    BuildTemplate,
    TakeSnapshot,
    CreateVolumes,
    StageRoot,
    StopJail,
    SnapshotVolumes,
    RemountRoot,
    StartJail,
    CheckHealth,
    RetireRelease,
    ForgetRelease,
)

AnyStep = Annotated[
    CreatePool
    | MountPool
    | BuildTemplate
    | TakeSnapshot
    | CreateVolumes
    | StageRoot
    | StopJail
    | SnapshotVolumes
    | RemountRoot
    | StartJail
    | CheckHealth
    | RetireRelease
    | ForgetRelease,
    Field(discriminator="kind"),
]

__all__ = ["ALL_STEPS", "AnyStep"]
