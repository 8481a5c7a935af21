"""Change the root of a stopped jail."""

from typing import ClassVar, Literal

from commands.drivers.base import Drivers, Presence
from commands.errors import DriverError, Foreign
from commands.steps.step import Phase, Step
from ledger.facts import RootRemounted
from ledger.names import Name, ReleaseName


class RemountRoot(Step):
    """Replace the mounted root ``current`` by ``target``; None stands for nothing mounted.

    Undo is the same change with the ends swapped. Half done is nothing mounted where both ends are releases; the target
    both here and at the stage, which is how a host whose mounts are shared moves it; and either end mounted writable.
    """

    kind: Literal["remount_root"] = "remount_root"
    phase: ClassVar[Phase] = Phase.SWITCH
    volatile: ClassVar[bool] = True
    jail: Name
    path: str
    stage: str
    current: ReleaseName | None
    target: ReleaseName | None

    def probe(self, on: Drivers) -> Presence:
        """Which of the two ends is mounted."""
        layers = on.mounts.layers(self.path)
        if layers > 1:
            return Presence.FOREIGN
        if layers == 0:
            if self.current is None:
                return Presence.ABSENT
            return Presence.PRESENT if self.target is None else Presence.PARTIAL
        end = Presence.FOREIGN
        if self._holds(on, self.path, self.target):
            end = Presence.PARTIAL if self._holds(on, self.stage, self.target) else Presence.PRESENT
        elif self._holds(on, self.path, self.current):
            end = Presence.ABSENT
        return Presence.PARTIAL if end is not Presence.FOREIGN and on.mounts.is_writable(self.path) else end

    def run(self, on: Drivers) -> None:
        """Mount the target in place of the current root."""
        self._put(on, self.current, self.target)

    def undo(self, on: Drivers) -> None:
        """Mount the former root in place of the target."""
        self._put(on, self.target, self.current)

    def fact(self, on: Drivers) -> RootRemounted:
        """The two releases."""
        return RootRemounted(before=self.current, after=self.target, jail=self.jail, path=self.path)

    def surprise(self, on: Drivers) -> str:
        """What is mounted there."""
        ends = f"{self.current or 'nothing'} or {self.target or 'nothing'}"
        return f"expected {ends}, found {listed(on.mounts.shown(self.path))}"

    def forward_words(self) -> str:
        """One line for people."""
        return f"mount {self.target or 'nothing'} as the root of {self.jail}, in place of {self.current or 'nothing'}"

    def undo_words(self) -> str:
        """One line for people."""
        return f"mount {self.current or 'nothing'} as the root of {self.jail} again"

    def _put(self, on: Drivers, old: ReleaseName | None, new: ReleaseName | None) -> None:
        if on.mounts.layers(self.path):
            if new is not None and self._holds(on, self.path, new):
                on.mounts.mount(on.storage.root_source(new), self.path)  # read-only, should it not be
                return
            if not self._holds(on, self.path, old):
                raise Foreign(
                    f"cannot change the root of {self.jail}: what is mounted at {self.path} is not ours",
                    remedy="look at it with `mount` and unmount it yourself",
                )
            on.mounts.unmount(self.path)
        if new is None:
            return
        if self._holds(on, self.stage, new):
            on.mounts.move(self.stage, self.path)
        else:
            mount_root(on, new, self.path)

    @staticmethod
    def _holds(on: Drivers, path: str, release: ReleaseName | None) -> bool:
        return release is not None and on.mounts.holds(path, on.storage.root_source(release))


def listed(mounts: tuple[str, ...]) -> str:
    """Mounts for people, the lowest first."""
    return " and over it ".join(mounts) or "nothing"


def mount_root(on: Drivers, release: ReleaseName, path: str) -> None:
    """Mount a release that was not staged, having looked that it is whole.

    Where a release was destroyed behind our back, its directory can still be there, empty: no jail is to start on that.
    """
    presence = on.storage.release_presence(release)
    if presence is not Presence.PRESENT:
        raise DriverError(
            f"cannot mount {release} at {path}: the release is {presence}",
            remedy="see `rootswap release list`, then bring the jail to one of them with `rootswap upgrade`",
        )
    on.mounts.mount(on.storage.root_source(release), path)
