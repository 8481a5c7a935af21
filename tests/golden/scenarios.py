"""The histories whose exact bytes are kept: the same inputs must give the same ledger for ever."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ledger.authority import Approval, Authority, Person, WindowState
from ledger.codec import Actor, Origin
from ledger.events import (
    ApprovalGiven,
    ApprovalRefused,
    JsonObject,
    LedgerEvent,
    OperatorDecided,
    RecoveryDecided,
    RecoveryStarted,
    StepFailed,
    StepStarted,
    StepSucceeded,
    StepUndone,
    StepUndoStarted,
    TransactionBegun,
    TransactionCommitted,
    TransactionEvent,
    TransactionPlanned,
    TransactionRolledBack,
    TransactionStuck,
    UnwindStarted,
)
from ledger.facts import Fact, HealthPassed, JailStarted, JailStopped, RootRemounted, RootStaged, VolumesSnapshotted
from ledger.lifecycle import TransactionStatus
from ledger.writer import LedgerWriter
from tests.ledger.fakes import CountedIds

ACTOR = Actor(uid=0, login="paul", login_uid=1001, invoked=("rootswap", "upgrade", "web"), tty="pts/0")
ORIGIN = Origin(host_id="3f9a", boot_id="0d1e", engine_version="0.1.0", actor=ACTOR)
#: The public key that the ledger names as its own; nothing is signed with it.
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB1mY0qWkV6dN0mV5Kc4eWl6n3dV4xO0bS2n8o7uJt5k"
OLD, NEW, NEWER = "debian@aaaa0000", "debian@bbbb0000", "debian@cccc0000"
STEPS = ("StageRoot", "StopJail", "SnapshotVolumes", "RemountRoot", "StartJail", "CheckHealth")

UPGRADE, UNHEALTHY, STUCK = "cccc0001", "cccc0002", "cccc0003"
APPROVED, REFUSED, EMERGENCY, WAITING = "dddd0001", "dddd0002", "dddd0003", "dddd0004"
ALL = (UPGRADE, UNHEALTHY, STUCK, APPROVED, REFUSED, EMERGENCY, WAITING)

PAUL = Person(uid=1001, login="paul", source="login-uid", claimed="eva")
EVA = Person(uid=1002, login="eva", source="process", through=(1003,))


#: Fields of a status that the first versions had not.
_LATER = ("planned", "approval", "owed")


class SteppedClock:
    """Stands still until it is advanced, however often one looks."""

    def __init__(self) -> None:
        self.commits = 0

    def advance(self) -> None:
        """The next commit, 250 ms later."""
        self.commits += 1

    def now(self) -> datetime:
        return datetime(2026, 3, 14, 1, 59, 26, 535897, tzinfo=UTC) + timedelta(milliseconds=250 * self.commits)

    def monotonic_ns(self) -> int:
        return 1_000_000_000 + 250_000_000 * self.commits

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError


#: A transaction and its events (one commit), or events of the ledger.
Entry = tuple[str | None, tuple[TransactionEvent | LedgerEvent, ...]]


def order(before: str, after: str, *, approval: Approval | None = None) -> TransactionBegun:
    plan: JsonObject = {
        "steps": [{"kind": kind, "jail": "web", "current": before, "target": after} for kind in STEPS],
        "budget_s": 30.5,
        "note": "Sicherheitsupdate für “web”",
    }
    return TransactionBegun(
        kind="upgrade",
        target="jail:web",
        steps=STEPS,
        before={"release": before, "volumes": ["home", "var"]},
        after={"release": after, "volumes": ["home", "var"]},
        plan=plan,
        reason="CVE-2026-31415",
        ticket="OPS-92",
        approval=approval,
    )


def facts(before: str, after: str, transaction: str) -> tuple[Fact, ...]:
    volumes = ("home", "var")
    return (
        RootStaged(before=None, after=after, jail="web", release=after, path="/rootswap/jails/web/next"),
        JailStopped(before="running", after="stopped", jail="web"),
        VolumesSnapshotted(before=None, after=transaction, jail="web", snapshot=transaction, volumes=volumes),
        RootRemounted(before=before, after=after, jail="web", path="/rootswap/jails/web/root"),
        JailStarted(before="stopped", after="running", jail="web"),
        HealthPassed(before=None, after="healthy", jail="web", checks=("http", "tcp")),
    )


def started(step: int, attempt: int = 1) -> StepStarted:
    return StepStarted(step=step, kind=STEPS[step - 1], attempt=attempt)


def succeeded(step: int, fact: Fact, *, attempt: int = 1, observed: bool = False) -> StepSucceeded:
    duration = None if observed else 1_000_000 * step
    kind = STEPS[step - 1]
    return StepSucceeded(step=step, kind=kind, attempt=attempt, fact=fact, duration_ns=duration, observed=observed)


def forward(transaction: str, before: str, after: str, until: int) -> list[Entry]:
    """Steps 1 to ``until`` succeed; each outcome shares its commit with the next intent."""
    done = facts(before, after, transaction)
    entries: list[Entry] = [(transaction, (order(before, after), started(1)))]
    for step in range(1, until):
        entries.append((transaction, (succeeded(step, done[step - 1]), started(step + 1))))
    return entries


def unwinding(transaction: str, last: int) -> list[Entry]:
    """Steps ``last`` to 1 are undone."""
    entries: list[Entry] = []
    for step in range(last, 0, -1):
        kind = STEPS[step - 1]
        entries.append((transaction, (StepUndoStarted(step=step, kind=kind, attempt=1),)))
        entries.append((transaction, (StepUndone(step=step, kind=kind, duration_ns=2_000_000),)))
    return entries


def a_full_upgrade() -> list[Entry]:
    """Every step succeeds."""
    approval = Approval(by="eva", at="2026-03-13T12:00:00Z", meaning="approved by the change board")
    entries = forward(UPGRADE, OLD, NEW, until=len(STEPS))
    entries[0] = (UPGRADE, (order(OLD, NEW, approval=approval), started(1)))
    end = TransactionCommitted(duration_ns=9_000_000_000, downtime_ns=1_500_000_000)
    return [*entries, (UPGRADE, (succeeded(6, facts(OLD, NEW, UPGRADE)[5]), end))]


def an_upgrade_that_fails_and_unwinds() -> list[Entry]:
    """The new root is not healthy."""
    failed = StepFailed(step=6, kind=STEPS[5], attempt=1, error="http: 503 after 30.5 s", duration_ns=30_500_000_000)
    cause = "step 6 CheckHealth: http: 503 after 30.5 s"
    return [
        *forward(UNHEALTHY, NEW, NEWER, until=len(STEPS)),
        (UNHEALTHY, (failed, UnwindStarted(cause=cause))),
        *unwinding(UNHEALTHY, last=6),
        (UNHEALTHY, (TransactionRolledBack(cause=cause, duration_ns=None, downtime_ns=33_000_000_000),)),
    ]


def an_upgrade_that_is_stuck_until_a_person_decides() -> list[Entry]:
    """Killed in step 4; recovery finds a foreign root, a person removes it, recovery unwinds."""
    foreign = "/rootswap/jails/web/root is mounted from /dev/sdz1, which is not ours"
    decided = RecoveryDecided(step=4, presence="FOREIGN", action="stick", reason=foreign)
    again = RecoveryDecided(step=4, presence="ABSENT", action="undone", reason="nothing is left of the step")
    undone = StepUndone(step=4, kind=STEPS[3], duration_ns=None, observed=True)
    word = OperatorDecided(choice="unwind", by="eva", why="unmounted the stray disk")
    cause = "an operator decided to unwind"
    return [
        *forward(STUCK, NEW, NEWER, until=4),
        (None, (RecoveryStarted(boot_id="0d1f", open=(STUCK,)),)),
        (STUCK, (decided, TransactionStuck(cause=foreign))),
        (STUCK, (word,)),
        (STUCK, (again, undone)),
        *unwinding(STUCK, last=3),
        (STUCK, (TransactionRolledBack(cause=cause, duration_ns=None, downtime_ns=None),)),
    ]


def planned(before: str, after: str) -> TransactionPlanned:
    wish = order(before, after).model_dump(exclude={"type", "authority"})
    return TransactionPlanned(
        **wish,
        by=PAUL,
        required=True,
        self_approval=False,
        expires_at="2026-03-21T01:59:00.000000Z",
        files={"/etc/rootswap/web.lxc": "7e" * 32},
    )


def a_plan_that_eva_approves() -> list[Entry]:
    """Planned, approved, begun as it is by the second person, committed."""
    said = ApprovalGiven(by=EVA, basis="second-person", reason="read and tested", at="2026-03-14T02:00:00.000000Z")
    approval = Approval(by="eva", at=said.at, meaning="read and tested")
    authority = Authority(
        basis="second-person",
        by=EVA,
        window=WindowState(state="inside", name="nightly"),
        planned_by=PAUL,
        approved_by=EVA,
    )
    first = order(NEW, NEWER, approval=approval).model_copy(update={"authority": authority})
    entries = forward(APPROVED, NEW, NEWER, until=len(STEPS))
    entries[0] = (APPROVED, (first, started(1)))
    end = TransactionCommitted(duration_ns=9_000_000_000, downtime_ns=1_500_000_000)
    return [
        (APPROVED, (planned(NEW, NEWER),)),
        (APPROVED, (said,)),
        *entries,
        (APPROVED, (succeeded(6, facts(NEW, NEWER, APPROVED)[5]), end)),
    ]


def a_plan_that_eva_refuses() -> list[Entry]:
    """Planned, and rejected."""
    said = ApprovalRefused(by=EVA, reason="not on a Friday", at="2026-03-14T02:00:00.000000Z")
    return [(REFUSED, (planned(NEWER, NEW),)), (REFUSED, (said,))]


def an_emergency_that_is_approved_late() -> list[Entry]:
    """Begun over a freeze and without approval; somebody answers for it when it was overdue."""
    window = WindowState(state="frozen", name="sales", note="end of the quarter", next="2026-04-01T02:00:00+02:00")
    authority = Authority(
        basis="emergency", by=PAUL, window=window, settle_by="2026-03-16T01:59:00.000000Z", policy="5f" * 32
    )
    entries = forward(EMERGENCY, NEWER, NEW, until=len(STEPS))
    entries[0] = (EMERGENCY, (order(NEWER, NEW).model_copy(update={"authority": authority}), started(1)))
    end = TransactionCommitted(duration_ns=9_000_000_000, downtime_ns=1_500_000_000)
    said = ApprovalGiven(
        by=EVA, basis="second-person", reason="rightly", at="2026-03-17T02:00:00.000000Z", retroactive=True, late=True
    )
    return [
        *entries,
        (EMERGENCY, (succeeded(6, facts(NEWER, NEW, EMERGENCY)[5]), end)),
        (EMERGENCY, (said,)),
    ]


def a_plan_that_waits() -> list[Entry]:
    """Nobody has answered yet."""
    return [(WAITING, (planned(NEW, NEWER),))]


def write(directory: Path) -> dict[str, TransactionStatus]:
    """Write all histories into a new ledger in ``directory``; returns where its transactions stand."""
    clock = SteppedClock()
    histories = (
        a_full_upgrade,
        an_upgrade_that_fails_and_unwinds,
        an_upgrade_that_is_stuck_until_a_person_decides,
        a_plan_that_eva_approves,
        a_plan_that_eva_refuses,
        an_emergency_that_is_approved_late,
        a_plan_that_waits,
    )
    with LedgerWriter.create(directory, ORIGIN, clock, key=KEY, new_id=CountedIds()) as writer:
        for history in histories:
            for transaction, events in history():
                clock.advance()
                if transaction is None:
                    writer.note(*(event for event in events if isinstance(event, LedgerEvent)))
                else:
                    writer.append(transaction, *(event for event in events if isinstance(event, TransactionEvent)))
        return {transaction: writer.status(transaction) for transaction in ALL}


def as_json(statuses: dict[str, TransactionStatus]) -> dict[str, object]:
    """The statuses as they are kept; what came with a later version is left out where there is nothing of it."""
    return {transaction: _plain(status) for transaction, status in statuses.items()}


def _plain(status: TransactionStatus) -> dict[str, object]:
    kept = {name: value for name, value in asdict(status).items() if name not in _LATER}
    added = {name: getattr(status, name) for name in ("planned", "owed")}
    return kept | {name: value.model_dump(mode="json") for name, value in added.items() if value is not None}
