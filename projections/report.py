"""The report on a period: what changed, how long it was down, on whose word, and whether the ledger is sound."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from projections.pages.bars import axis, bar, end_of_scale, share_bar
from projections.pages.lanes import lanes, order
from projections.pages.markup import Markup, element, joined, page, text, words
from projections.pages.parts import Column, When, facts, figures, length, state_word, table
from projections.questions import Cell, Connection, Downtime, Row, Scope, ask, by_state, downtimes, first_begun, people

_ENDED_WELL, _TAKEN_BACK, _REFUSED = "committed", "rolled-back", "rejected"


@dataclass(frozen=True, slots=True)
class Verification:
    """What is known of the ledger behind a page: whether it ``is_sound``, in one sentence, and the details."""

    is_sound: bool
    sentence: str
    details: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """What a page says of itself: of which ledger and host it is, when and by what it was made."""

    origin: str
    host: str
    made_at: str
    version: str
    zone: str
    when: When


@dataclass(frozen=True, slots=True)
class Findings:
    """The answers that a report shows; ``changes`` are the newest, of ``count`` in all."""

    since: str
    until: str
    target: str | None
    limit: int
    changes: list[Row]
    states: dict[str, int]
    downtimes: list[Downtime]
    unapproved: list[Row]
    outside: list[Row]
    failed: list[Row]
    open: list[Row]
    people: list[Row]

    @property
    def is_cut(self) -> bool:
        """Whether there are more than are shown of what stands out."""
        return self.limit in (len(self.unapproved), len(self.failed), len(self.outside))

    @property
    def count(self) -> int:
        """How many changes began in the period."""
        return sum(self.states.values())


def find(tables: Connection, scope: Scope, now: str) -> Findings:
    """Ask all that a report tells; ``now`` is the end of a period without one."""
    everything = replace(scope, limit=-1)
    return Findings(
        since=scope.since or first_begun(tables, scope) or now,
        until=scope.until or now,
        target=scope.target,
        limit=scope.limit,
        changes=ask(tables, "all-changes", scope),
        states=by_state(tables, scope),
        downtimes=sorted(downtimes(tables, scope), key=lambda one: order(one.target)),
        unapproved=ask(tables, "unapproved", scope),
        outside=ask(tables, "outside-window", scope),
        failed=ask(tables, "failed", scope),
        open=ask(tables, "open", everything),
        people=people(tables, everything),
    )


def report(found: Findings, verification: Verification, frame: Frame) -> str:
    """The page."""
    title = f"Changes on {frame.host}"
    return page(
        title,
        element(
            "main",
            _head(title, found, frame),
            banner(verification),
            _figures(found),
            _overview(found, frame.when),
            *_targets(found, frame.when),
            _exceptions(found, frame.when),
            _people(found, frame.when),
            _foot(frame),
        ),
    )


def _head(title: str, found: Findings, frame: Frame) -> Markup:
    period = f"{frame.when(found.since)} to {frame.when(found.until)}"
    of_target = f", {found.target} only" if found.target else ""
    return element(
        "header",
        words("h1", title),
        words("p", f"{period}{of_target}. Times are {frame.zone}.", class_="soft"),
    )


def banner(verification: Verification) -> Markup:
    """Whether the ledger is sound, first of all."""
    kind = "sound" if verification.is_sound else "unknown"
    return element(
        "section",
        element("p", words("b", ("✓ " if verification.is_sound else "⚠ ") + verification.sentence)),
        facts(verification.details),
        class_=f"card banner {kind}",
    )


def _figures(found: Findings) -> Markup:
    total = sum(one.total_ns for one in found.downtimes)
    longest = max((one.max_ns for one in found.downtimes), default=None)
    ended = (_ENDED_WELL, _TAKEN_BACK, _REFUSED)
    unfinished = sum(count for state, count in found.states.items() if state not in ended)
    return figures(
        [
            ("changes", str(found.count)),
            (_ENDED_WELL, str(found.states.get(_ENDED_WELL, 0))),
            ("rolled back", str(found.states.get(_TAKEN_BACK, 0))),
            ("refused", str(found.states.get(_REFUSED, 0))),
            ("not ended", str(unfinished)),
            ("downtime in all", length(total)),
            ("longest downtime", length(longest)),
            ("not approved before", str(len(found.unapproved)) + ("+" if found.is_cut else "")),
        ]
    )


def _overview(found: Findings, when: When) -> Markup:
    if not found.changes:
        return element(
            "section", words("h2", "Timeline"), words("p", "Nothing was changed in this period.", class_="soft")
        )
    more = found.count - len(found.changes)
    cut = f"The newest {len(found.changes)} changes are shown, {more} older ones are not. All are in the sums."
    return element(
        "section",
        words("h2", "Timeline"),
        words("p", cut, class_="soft small") if more > 0 else None,
        element("div", lanes(found.changes, _start(found, more), found.until, when), class_="card"),
    )


def _start(found: Findings, more: int) -> str:
    return found.since if more <= 0 else min(str(row["begun_at"]) for row in found.changes)


# --- each target ------------------------------------------------------------------------------------------------------


def _targets(found: Findings, when: When) -> list[Markup]:
    by_target: dict[str, list[Row]] = {}
    for row in found.changes:
        by_target.setdefault(str(row["target"]), []).append(row)
    summaries = {one.target: one for one in found.downtimes}
    sections = [
        _target(target, by_target[target], summaries.get(target), when) for target in sorted(by_target, key=order)
    ]
    return [words("h2", "Changes and their downtime") or Markup(""), *sections] if sections else []


def _target(target: str, rows: Sequence[Row], summary: Downtime | None, when: When) -> Markup:
    end_ns = end_of_scale(max((row["downtime_ns"] for row in rows if isinstance(row["downtime_ns"], int)), default=1))
    return element(
        "section",
        words("h3", target),
        None if summary is None else _summary(summary),
        None if summary is None else share_bar(summary.shares, summary.total_ns),
        None if summary is None else axis(end_ns),
        element("ol", *(_change(row, end_ns, when, has_scale=summary is not None) for row in rows), class_="changes"),
        class_="card plain" if summary is None else "card",
    )


def _summary(one: Downtime) -> Markup:
    pairs = (
        ("p50", length(one.p50_ns)),
        ("p95", length(one.p95_ns)),
        ("longest", length(one.max_ns)),
        ("in all", length(one.total_ns)),
        ("changes with downtime", str(one.changes)),
    )
    return element(
        "dl", *(element("div", words("dt", name), words("dd", said)) for name, said in pairs), class_="numbers"
    )


def _change(row: Row, end_ns: int, when: When, *, has_scale: bool) -> Markup:
    what = element(
        "div",
        words("span", when(str(row["begun_at"])), class_="soft"),
        words("b", row["kind"]),
        words("code", row["transaction_id"]),
        state_word(row["state"]),
        class_="what",
    )
    return element(
        "li",
        what,
        bar(row, end_ns) if has_scale else None,
        words("span", length(row["downtime_ns"]), class_="len") if has_scale else None,
        words("div", _note(row), class_="note"),
        class_="change",
        id=str(row["transaction_id"]),
    )


def _note(row: Row) -> str:
    releases = None
    if row["from_release"] != row["to_release"]:
        releases = f"{row['from_release'] or 'nothing'} → {row['to_release'] or 'nothing'}"
    elif row["to_release"]:
        releases = f"on {row['to_release']}"
    by = f"{row['approval']} by {row['approved_by']}" if row["approved_by"] else f"approval {row['approval']}"
    parts = (
        f"by {row['login']}",
        by,
        releases,
        row["ticket"],
        f"“{row['reason']}”" if row["reason"] else None,
        f"{row['window']} its window" if row["window"] in ("outside", "frozen") else None,
        f"decisions of recovery: {row['recovered']}" if row["recovered"] else None,
        f"cause: {row['cause']}" if row["cause"] else None,
    )
    return " · ".join(str(part) for part in parts if part)


# --- what stands out --------------------------------------------------------------------------------------------------


def _exceptions(found: Findings, when: When) -> Markup:
    common = [
        Column("change", lambda row: row["transaction_id"]),
        Column("target", lambda row: row["target"]),
        Column("begun", lambda row: when(str(row["begun_at"]))),
        Column("by", lambda row: row["login"]),
        Column("state", lambda row: row["state"]),
    ]
    approval = [*common, Column("approval", lambda r: r["approval"]), Column("approved by", lambda r: r["approved_by"])]
    window = [*common, Column("window", lambda row: row["window"]), Column("reason", lambda row: row["reason"])]
    cause = [*common, Column("cause", lambda row: row["cause"])]
    due = [*common, Column("approval", lambda row: row["approval"]), Column("cause", lambda row: row["cause"])]
    parts = (
        ("Failed", found.failed, cause, "Nothing failed."),
        ("Not approved before it began", found.unapproved, approval, "Everything was approved before it began."),
        ("Outside of its window", found.outside, window, "Everything was inside of its window, or no window is kept."),
        ("Not ended, or an answer is due", found.open, due, "Everything has ended, and nothing is due."),
    )
    return joined(
        *(
            element("section", words("h2", heading), element("div", table(rows, columns, empty), class_="card"))
            for heading, rows, columns, empty in parts
        )
    )


def _people(found: Findings, when: When) -> Markup:
    counts = ("begun", "committed", "rolled_back", "unfinished", "approved", "decided")
    columns = [
        Column("login", lambda row: row["login"]),
        Column("login uid", lambda row: row["login_uid"], is_number=True),
        *(Column(name.replace("_", " "), _counted(name), is_number=True) for name in counts),
        Column("last", lambda row: when(str(row["last_at"])) if row["last_at"] else None),
    ]
    shown = table(found.people, columns, "Nobody changed anything.")
    return element("section", words("h2", "Who"), element("div", shown, class_="card"))


def _counted(name: str) -> Callable[[Row], Cell]:
    return lambda row: row[name]


def _foot(frame: Frame) -> Markup:
    commands = (
        "rootswap audit verify",
        "rootswap audit show TRANSACTION",
        "rootswap audit evidence TRANSACTION --output FILE.zip",
    )
    return element(
        "footer",
        words("h2", "What this page is"),
        element(
            "p",
            text(
                "A view of the ledger, made for reading: the page itself proves nothing. What it says can be checked "
                "against the ledger, and each change can be proved without it:"
            ),
        ),
        element("pre", Markup("\n".join(text(command) for command in commands))),
        facts(
            (
                ("ledger", frame.origin),
                ("made", f"{frame.when(frame.made_at)} by rootswap {frame.version}"),
                ("downtime", "from the stop of the jail to its first passed health check, by the monotonic clock"),
            )
        ),
    )
