"""Storage on ZFS, on FreeBSD and Linux alike: a template, a release, a volume is a data set with marks of ours.

Beneath ``DATASET``, mounted at the pool's path::

    templates/NAME:HEAD             read-write; @base-HEAD2 is what HEAD2 was cloned from
    templates/NAME:HEAD@ID          the snapshot of release NAME@ID, held; a promotion moves it to another data set
    releases/NAME:ID                its clone, read-only: what jails run on
    volumes/JAIL:VOLUME             read-write
    volumes/JAIL:VOLUME@TX          data snapshots; all volumes of a jail in one command, which is atomic

Marks are user properties that are set by the command that creates, so there is no moment at which a thing of ours is
without. A data set at one of these names without our mark is FOREIGN. Each command of zfs that changes something
waits until that is on disk.
"""

from commands.drivers.base import Presence, Source
from commands.drivers.zfs_objects import TAG
from commands.drivers.zfs_text import MARKS, RETIRED, STATE, TRANSACTION
from commands.drivers.zfs_volumes import ZfsVolumes
from commands.errors import DriverError, Foreign
from ledger.names import Name, ReleaseName, TransactionId, is_release, template_of, transaction_of


class ZfsStorage(ZfsVolumes):
    """The Storage on ZFS. Raises DriverError for everything but the pool itself while its data set is not there."""

    # Templates

    def templates(self) -> tuple[tuple[Name, TransactionId], ...]:
        """Every template head in the pool that is ours, finished or not."""
        prefix = f"{self._home}/templates/"
        pairs = []
        for name, one in self._inventory().items():
            template, _, head = name.removeprefix(prefix).partition(":")
            if (
                name.startswith(prefix)
                and one.own(MARKS) == f"templates/{template}/{head}"
                and is_release(f"{template}@{head}")
            ):
                pairs.append((template, head))
        return tuple(sorted(pairs))

    def template_presence(self, template: Name, head: TransactionId) -> Presence:
        """PRESENT once finished and mounted, PARTIAL between begin and finish."""
        return self._template_presence(self._inventory(), template, head)

    def template_path(self, template: Name, head: TransactionId) -> str:
        """The directory that is the root of the template."""
        return self._place(self._template(template, head))

    def begin_template(self, template: Name, head: TransactionId, base: TransactionId | None) -> None:
        """A writable head, empty or a clone of what ``base`` is now. One half made is made anew."""
        found = self._inventory()
        match self._template_presence(found, template, head):
            case Presence.PRESENT:
                raise DriverError(f"cannot begin head {head} of template {template}: it is finished already")
            case Presence.FOREIGN:
                raise self._not_ours("begin", f"head {head} of template {template}", self._template(template, head))
            case Presence.PARTIAL:
                self.destroy_template(template, head)
            case Presence.ABSENT:
                pass
        name = self._template(template, head)
        marks = ("-o", f"{MARKS}=templates/{template}/{head}", "-o", f"{STATE}=building")
        if base is None:
            self._make(name, "create", *marks)
            return
        if self._template_presence(found, template, base) is not Presence.PRESENT:
            raise DriverError(f"cannot copy template {template}: its head {base} is not there or not finished")
        origin = f"{self._template(template, base)}@base-{head}"
        made = ("-o", f"{MARKS}=bases/{template}/{head}", "-o", f"{TRANSACTION}={head}")
        self._zfs(f"snapshot {origin}", "snapshot", *made, origin)
        self._make(name, "clone", *marks, origin)

    def finish_template(self, template: Name, head: TransactionId) -> None:
        """Make the head durable and mark it finished."""
        name = self._template(template, head)
        presence = self._template_presence(self._inventory(), template, head)
        if presence is Presence.PARTIAL:
            self._finish(name)
            presence = self._presence(self._look([name]).get(name), f"templates/{template}/{head}")
        if presence is not Presence.PRESENT:
            raise DriverError(f"cannot finish head {head} of template {template}: it is {presence}")

    def destroy_template(self, template: Name, head: TransactionId) -> None:
        """Destroy a head that is ours; releases and heads that stem from it stay."""
        name, found = self._template(template, head), self._inventory()
        match self._template_presence(found, template, head):
            case Presence.ABSENT:
                return
            case Presence.FOREIGN:
                raise self._not_ours("destroy", f"head {head} of template {template}", name)
            case Presence.PRESENT | Presence.PARTIAL:
                pass
        base = self._base(found, template, head)
        if name in found:
            self._dissolve(name)
        elif base is not None:  # the snapshot for it was taken, and no more
            self._refuse_held(base)
            self._destroy_snapshot(base)

    # Releases

    def releases(self) -> tuple[ReleaseName, ...]:
        """Every release in the pool that is ours and not retired."""
        found = self._inventory()
        names = {(one.own(MARKS) or "").removeprefix("releases/") for one in found.values()}
        return tuple(
            sorted(
                name
                for name in names
                if is_release(name)
                and self._release_presence(found, name) in (Presence.PRESENT, Presence.PARTIAL)
                and self._retired_by(found, name) is None
            )
        )

    def release_presence(self, release: ReleaseName) -> Presence:
        """PRESENT when snapshot and clone are there, read-only and mounted; ABSENT once retired."""
        found = self._inventory()
        if self._retired_by(found, release) is not None:
            return Presence.ABSENT
        return self._release_presence(found, release)

    def take_release(self, release: ReleaseName, head: TransactionId) -> None:
        """Take a snapshot of the head, hold it, and clone it for jails to run on."""
        found = self._inventory()
        match self._release_presence(found, release):
            case Presence.PRESENT:
                return
            case Presence.FOREIGN:
                raise self._not_ours("take", f"release {release}", self._release(release))
            case Presence.PARTIAL:
                self.destroy_release(release)
            case Presence.ABSENT:
                pass
        template = template_of(release)
        if self._template_presence(found, template, head) is not Presence.PRESENT:
            raise DriverError(
                f"cannot take release {release}: head {head} of template {template} is not there or not finished"
            )
        snapshot = f"{self._template(template, head)}@{transaction_of(release)}"
        marks = ("-o", f"{MARKS}=releases/{release}", "-o", f"{TRANSACTION}={transaction_of(release)}")
        self._zfs(f"snapshot {snapshot}", "snapshot", *marks, snapshot)
        self._zfs(f"hold {snapshot}", "hold", TAG, snapshot)
        self._make(self._release(release), "clone", "-o", "readonly=on", *marks, "-o", f"{STATE}=built", snapshot)

    def destroy_release(self, release: ReleaseName) -> None:
        """Destroy a release that is ours and nowhere mounted but at its own place."""
        found = self._inventory()
        match self._release_presence(found, release):
            case Presence.ABSENT:
                return
            case Presence.FOREIGN:
                raise self._not_ours("destroy", f"release {release}", self._release(release))
            case Presence.PRESENT | Presence.PARTIAL:
                pass
        snapshot = self._taken(found, release)
        if snapshot is not None:
            self._refuse_held(snapshot)
            others = [clone for clone in snapshot.clones if clone not in found or not found[clone].own(MARKS)]
            if others:
                remedy = f"destroy or promote {others[0]} yourself"
                raise Foreign(
                    f"cannot destroy release {release}: {others[0]} is a clone of it and not ours", remedy=remedy
                )
            self._refuse_mounted("destroy", snapshot.name)
        self._dissolve(self._release(release), own=[f"releases/{release}"])
        left = self._taken(self._inventory(), release)
        if left is not None:
            self._destroy_snapshot(left)

    def fingerprint(self, release: ReleaseName) -> str:
        """Which snapshot it is (guid and transaction group), and what the clone says was written to it.

        That is 1024 bytes on OpenZFS 2.1.11 though nobody has written any, and stays so over mounts and imports.
        """
        found = self._inventory()
        snapshot, clone = self._taken(found, release), found.get(self._release(release))
        if snapshot is None or clone is None:
            raise DriverError(f"cannot take the fingerprint of release {release}: it is not there")
        return f"zfs:{snapshot.value('guid')}:{snapshot.value('createtxg')}:{clone.value('written')}"

    def retired_presence(self, release: ReleaseName, by: TransactionId) -> Presence:
        """Whether the release is out of use, kept in the trash of the transaction ``by``."""
        found = self._inventory()
        if self._retired_by(found, release) != by:
            return Presence.ABSENT
        return self._release_presence(found, release)

    def retire_release(self, release: ReleaseName, by: TransactionId) -> None:
        """Say of a release that is nowhere in use that it is retired; it stays where it is."""
        found = self._inventory()
        if self._retired_by(found, release) == by:
            return
        presence = self._release_presence(found, release)
        if presence is not Presence.PRESENT:
            raise DriverError(f"cannot retire release {release}: it is {presence}")
        self._refuse_mounted("retire", self._release(release))
        parts = [one.name for one in self._parts(found, release)]
        self._zfs(f"retire release {release}", "set", f"{RETIRED}={by}", *parts)

    def restore_release(self, release: ReleaseName, by: TransactionId) -> None:
        """Take the release out of the trash again."""
        found = self._inventory()
        if self._retired_by(found, release) == by:
            parts = [one.name for one in self._parts(found, release)]
            self._zfs(f"restore release {release}", "inherit", RETIRED, *parts)
        elif self._release_presence(found, release) is not Presence.PRESENT:
            raise DriverError(f"cannot restore release {release}: it is not in the trash of {by}")

    def trash(self) -> tuple[TransactionId, ...]:
        """The transactions that have something in the trash."""
        return tuple(sorted({by for one in self._inventory().values() if (by := one.own(RETIRED)) is not None}))

    def empty_trash(self, by: TransactionId) -> None:
        """Destroy what the transaction put into the trash."""
        found = self._inventory()
        marks = {one.own(MARKS) or "" for one in found.values() if one.own(RETIRED) == by}
        for release in sorted(mark.removeprefix("releases/") for mark in marks):
            if not is_release(release):
                continue
            silent = [one.name for one in self._parts(found, release) if one.own(RETIRED) != by]
            if silent:  # the two were not told at the same moment
                self._zfs(f"retire release {release}", "set", f"{RETIRED}={by}", *silent)
            self.destroy_release(release)

    def root_source(self, release: ReleaseName) -> Source:
        """What to mount, read-only, as the root of a jail on this release: the directory of its clone."""
        return Source("bind", self._place(self._release(release)))
