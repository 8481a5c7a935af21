"""The marked data sets of the ZFS driver: how they are told from others, mounted and destroyed.

A release is a snapshot of a template's head, held under our tag, and one clone of it, read-only and mounted once; jails
see it through a bind or nullfs mount. A mount of the snapshot itself would not do: FreeBSD cannot mount one snapshot at
two places, and unmounts snapshots by force when one of their data set is destroyed (even if that is then refused) or
when a clone is promoted, whoever runs on them.

A head cannot go while clones stem from it. It is promoted out of the way: the clone takes over the snapshots, and with
them the space that they keep, so that an old release gives its space back when it is destroyed, and no chain of clones
grows with each upgrade.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from commands.drivers.base import Presence, Source
from commands.drivers.zfs_pool import CHANGE_TIMEOUT_S, LOOK_TIMEOUT_S, ZfsPool
from commands.drivers.zfs_text import MARKS, RETIRED, STATE, Seen, parsed_tags
from commands.errors import DriverError, Foreign
from ledger.names import Name, ReleaseName, TransactionId, template_of, transaction_of

#: The tag of our holds.
TAG = "rootswap"

Inventory = Mapping[str, Seen]


class ZfsObjects(ZfsPool):
    """Templates and releases as data sets; their names hold a colon, which no name of ours has."""

    # --- names ---

    def _template(self, template: Name, head: TransactionId) -> str:
        return f"{self._home}/templates/{template}:{head}"

    def _release(self, release: ReleaseName) -> str:
        return f"{self._home}/releases/{template_of(release)}:{transaction_of(release)}"

    def _volume(self, jail: Name, volume: Name) -> str:
        return f"{self._home}/volumes/{jail}:{volume}"

    def _place(self, dataset: str) -> str:
        """Where a data set of ours is mounted: it inherits that from its name."""
        return self._pool.path + dataset[len(self._home) :]

    # --- what is there ---

    def _inventory(self) -> dict[str, Seen]:
        """Every template, release and snapshot of them, in one look."""
        return self._look_in(("templates", "releases"), "-r", "-t", "filesystem,volume,snapshot")

    def _presence(self, one: Seen | None, marks: str) -> Presence:
        """PRESENT when it is finished and mounted where it belongs; FOREIGN without our mark for it."""
        if one is None:
            return Presence.ABSENT
        if one.own(MARKS) != marks:
            return Presence.FOREIGN
        there = one.is_mounted and one.value("mountpoint") == self._place(one.name)
        return Presence.PRESENT if one.own(STATE) == "built" and there else Presence.PARTIAL

    @staticmethod
    def _base(found: Inventory, template: Name, head: TransactionId) -> Seen | None:
        """The snapshot that a head is a clone of, wherever promotions have brought it."""
        return next(
            (one for one in found.values() if one.is_snapshot and one.own(MARKS) == f"bases/{template}/{head}"), None
        )

    @staticmethod
    def _taken(found: Inventory, release: ReleaseName) -> Seen | None:
        """The snapshot of a release, wherever promotions have brought it."""
        return next(
            (one for one in found.values() if one.is_snapshot and one.own(MARKS) == f"releases/{release}"), None
        )

    def _template_presence(self, found: Inventory, template: Name, head: TransactionId) -> Presence:
        presence = self._presence(found.get(self._template(template, head)), f"templates/{template}/{head}")
        if presence is Presence.ABSENT and self._base(found, template, head) is not None:
            return Presence.PARTIAL
        return presence

    def _release_presence(self, found: Inventory, release: ReleaseName) -> Presence:
        """Of a release in use or retired: PRESENT when snapshot and clone belong together and cannot be written."""
        clone, snapshot = found.get(self._release(release)), self._taken(found, release)
        presence = self._presence(clone, f"releases/{release}")
        if presence is Presence.FOREIGN or self._is_squatted(found, release):
            return Presence.FOREIGN
        if clone is None or snapshot is None:
            return Presence.ABSENT if clone is snapshot else Presence.PARTIAL
        belongs = clone.value("origin") == snapshot.name or snapshot.owner == clone.name
        frozen = clone.value("readonly") == "on"
        return presence if belongs and frozen else Presence.PARTIAL

    def _is_squatted(self, found: Inventory, release: ReleaseName) -> bool:
        """Whether a head of the template has a snapshot of the release's name that is not ours."""
        heads = f"{self._home}/templates/{template_of(release)}:"
        ending = f"@{transaction_of(release)}"
        return any(
            one.name.startswith(heads) and one.name.endswith(ending) and one.own(MARKS) != f"releases/{release}"
            for one in found.values()
        )

    def _parts(self, found: Inventory, release: ReleaseName) -> list[Seen]:
        """What there is of a release that bears our mark for it: its snapshot and its clone."""
        parts = (self._taken(found, release), found.get(self._release(release)))
        return [one for one in parts if one is not None and one.own(MARKS) == f"releases/{release}"]

    def _retired_by(self, found: Inventory, release: ReleaseName) -> TransactionId | None:
        """The transaction in whose trash a release is. Both parts say so, for one of them is the last to go."""
        return next((by for one in self._parts(found, release) if (by := one.own(RETIRED))), None)

    # --- making ---

    def _make(self, name: str, *argv: str) -> None:
        """Create or clone a data set that does not mount itself, then mount it."""
        self._zfs(f"create {name}", argv[0], "-o", "canmount=noauto", *argv[1:], name)
        self._mount(self._look([name])[name], self._place(name))

    def _finish(self, name: str) -> None:
        """Make the content durable, then say that it is whole."""
        self._host.sync(self._place(name))
        self._zfs(f"finish {name}", "set", f"{STATE}=built", name)

    @staticmethod
    def _not_ours(verb: str, what: str, name: str) -> Foreign:
        remedy = f"look at {name} with `zfs get all`, and rename or destroy it yourself"
        return Foreign(f"cannot {verb} {what}: {name} is not ours", remedy=remedy)

    # --- destroying ---

    def _dissolve(self, name: str, own: Sequence[str] = ()) -> None:
        """Destroy a data set of ours; clones of ours that stem from it take over the snapshots that they need.

        Of its snapshots only those go that are bases of heads, or whose mark is in ``own``. Everything that could stand
        in the way is looked for before anything is touched.
        """
        found = self._inventory() if not name.startswith(f"{self._home}/volumes/") else self._around(name)
        if name not in found:
            return
        self._refuse_mounted("destroy", name)
        mine = sorted(
            (one for one in found.values() if one.is_snapshot and one.owner == name), key=lambda one: -one.age
        )
        kept = next((one for one in mine if one.clones), None)
        doomed = mine if kept is None else mine[: mine.index(kept)]
        for snapshot in doomed:
            self._require_disposable(snapshot, own)
        origin = found[name].value("origin")
        if kept is not None:
            heir = self._heir(found, kept)
            self._zfs(f"promote {heir} in place of {name}", "promote", heir)
            origin = f"{heir}@{kept.name.partition('@')[2]}"
        for snapshot in doomed:
            self._destroy_snapshot(snapshot)
        base = kept if kept is not None else found.get(origin or "")
        if origin is not None and base is not None and (base.own(MARKS) or "").startswith("bases/"):
            # It goes with the last of its clones: in the very moment in which the data set is destroyed.
            self._zfs(f"destroy {origin}", "destroy", "-d", origin)
        self._zfs(f"destroy {name}", "destroy", name)
        with suppress(DriverError):  # not worth a failure, should somebody have put something there
            self._host.remove(self._place(name))

    def _around(self, name: str) -> dict[str, Seen]:
        return self._look([name], "-d", "1", "-t", "filesystem,snapshot")

    def _heir(self, found: Inventory, snapshot: Seen) -> str:
        """The clone that takes over; a head rather than a release. Raises Foreign when none is ours."""
        ours = sorted(clone for clone in snapshot.clones if clone in found and found[clone].own(MARKS))
        if not ours:
            remedy = f"destroy or promote {snapshot.clones[0]} yourself"
            raise Foreign(
                f"cannot destroy {snapshot.owner}: {snapshot.clones[0]} is a clone of it and not ours", remedy=remedy
            )
        return max(ours)  # "templates" is behind "releases"

    def _require_disposable(self, snapshot: Seen, own: Sequence[str]) -> None:
        marks = snapshot.own(MARKS) or ""
        if not marks:
            remedy = f"if nobody needs it, destroy it yourself with `zfs destroy {snapshot.name}`"
            raise Foreign(f"cannot destroy {snapshot.owner}: its snapshot {snapshot.name} is not ours", remedy=remedy)
        if not marks.startswith("bases/") and marks not in own:
            raise DriverError(f"cannot destroy {snapshot.owner}: it holds {marks}")
        self._refuse_held(snapshot)

    def _refuse_held(self, snapshot: Seen) -> None:
        """Raises Foreign when somebody else holds the snapshot."""
        if (snapshot.value("userrefs") or "0") == "0":
            return
        asked = ["zfs", "holds", "-H", snapshot.name]  # 2.1 has no -p here
        others = [tag for tag in parsed_tags(self._host.run(asked, timeout_s=LOOK_TIMEOUT_S).stdout) if tag != TAG]
        if others:
            remedy = f"whoever holds it lets it go with `zfs release {others[0]} {snapshot.name}`"
            raise Foreign(f"cannot destroy {snapshot.name}: somebody else holds it as {others[0]!r}", remedy=remedy)

    def _destroy_snapshot(self, snapshot: Seen) -> None:
        """Destroy a snapshot of ours without clones. Never one that is mounted: FreeBSD would unmount it by force."""
        if (snapshot.value("userrefs") or "0") != "0":
            self._host.run(["zfs", "release", TAG, snapshot.name], check=False, timeout_s=CHANGE_TIMEOUT_S)
        self._refuse_mounted("destroy", snapshot.name)
        self._zfs(f"destroy {snapshot.name}", "destroy", snapshot.name)

    def _refuse_mounted(self, verb: str, name: str) -> None:
        """Raises DriverError when a data set or snapshot is seen anywhere but at its own place."""
        for path in self._mounts.places(Source("zfs", name)):
            if path != self._place(name):
                raise DriverError(f"cannot {verb} {name}: it is mounted at {path}")
