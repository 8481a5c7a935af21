"""The report, as a browser shows it: drawn to scale, whole without network or script, and harmless."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger.events import (
    JsonObject,
    StepFailed,
    TransactionBegun,
    TransactionCommitted,
    TransactionRolledBack,
    TransactionStuck,
    UnwindStarted,
)
from ledger.reader import LedgerReader
from projections.pages.bars import end_of_scale, nice_step
from projections.pages.markup import element, text
from projections.pages.parts import length
from projections.projector import Projector
from projections.questions import Scope
from projections.report import Frame, Verification, find, report
from tests.browser import Browser, needs_chromium
from tests.ledger.fakes import ORIGIN as BY_PAUL
from tests.ledger.fakes import CountedIds, FakeClock
from tests.projections.test_questions import STEPS, ran, taken_back

from ledger.writer import LedgerWriter  # isort: skip

HOSTILE = "</script><script>alert(1)</script><img src=http://127.0.0.1:9/x onerror=alert(2)> \x1b[2J \u202e '\" &amp;"
DOWNTIMES_MS = (120, 35, 480, 2)
FRAME = Frame("rootswap/host-1/1", "host-1", "2026-03-14T03:00:00.000000Z", "0.1.0", "in UTC", lambda at: at[:19])
SOUND = Verification(True, "The ledger was verified for this page.", (("checkpoint", "rootswap/host-1/1 9 abc="),))


def order(target: str, reason: str = "CVE") -> TransactionBegun:
    settled: JsonObject = {"deployment": {"release": "debian@aaaa0001"}, "running": True}
    return TransactionBegun(
        kind="upgrade", target=target, steps=STEPS, before=settled, after=settled, plan={}, reason=reason
    )


def fill(directory: Path) -> None:
    """Web is upgraded four times, mail is taken back and stuck; db says hostile things."""
    with LedgerWriter.create(directory, BY_PAUL, FakeClock(), new_id=CountedIds()) as ledger:
        for number, downtime_ms in enumerate(DOWNTIMES_MS, 1):
            each_ns = downtime_ms * 100_000
            end = TransactionCommitted(duration_ns=10**9, downtime_ns=downtime_ms * 1_000_000)
            ledger.append(f"0000000{number}", order("jail:web"), *ran(6, each_ns), end)
        failed = StepFailed(step=6, kind=STEPS[5], attempt=1, error=HOSTILE, duration_ns=5_000_000)
        started = ran(6, 1_000_000)[:-1]
        back = TransactionRolledBack(cause=HOSTILE, duration_ns=10**9, downtime_ns=77_000_000)
        turned = (failed, UnwindStarted(cause=HOSTILE), *taken_back(6), back)
        ledger.append("00000005", order("jail:mail", HOSTILE), *started, *turned)
        ledger.append("00000006", order("jail:mail"), TransactionStuck(cause="somebody else's root"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page in a file."""
    directory = tmp_path_factory.mktemp("report")
    fill(directory)
    projector = Projector(sqlite3.connect(":memory:", isolation_level=None))
    with LedgerReader.open(directory) as reader, closing(projector):
        projector.catch_up(reader)
        found = find(projector.database.conn, Scope(limit=500), "2026-03-14T03:00:00.000000Z")
    path = directory / "report.html"
    path.write_text(report(found, SOUND, FRAME))
    return path


def test_the_page_holds_no_script_and_names_no_address(drawn: Path) -> None:
    page = drawn.read_text()
    assert "<script" not in page
    assert not re.search(r'<[^<>]*\s(src|href)=(?!"#)', page), "every link stays on the page"
    assert not re.search(r"url\(|@import|expression\(", page)
    assert "\x1b" not in page and "\u202e" not in page


def test_the_same_ledger_gives_the_same_page(drawn: Path, tmp_path: Path) -> None:
    fill(tmp_path)
    projector = Projector(sqlite3.connect(":memory:", isolation_level=None))
    with LedgerReader.open(tmp_path) as reader, closing(projector):
        projector.catch_up(reader)
        found = find(projector.database.conn, Scope(limit=500), "2026-03-14T03:00:00.000000Z")
    assert report(found, SOUND, FRAME) == drawn.read_text()


def test_text_cannot_become_markup() -> None:
    assert "<b" not in text(HOSTILE)
    assert element("i", text("<b>"), title='"><b>') == '<i title="&quot;&gt;&lt;b&gt;">&lt;b&gt;</i>'


@pytest.mark.parametrize(
    ("most", "step", "end"), [(1, 1, 1), (100, 20, 100), (114, 50, 150), (480, 100, 500), (7, 2, 8)]
)
def test_a_scale_has_at_most_five_steps_and_ends_with_one(most: int, step: int, end: int) -> None:
    assert (nice_step(most), end_of_scale(most)) == (step, end)


@pytest.mark.parametrize(
    ("ns", "said"),
    [(None, "–"), (0, "0.0 ms"), (9_940_000, "9.9 ms"), (114_000_000, "114 ms"), (1_449_000_000, "1.4 s"),
     (61_000_000_000, "1 min 01 s"), (3_660_000_000_000, "1 h 01 min")],
)  # fmt: skip
def test_lengths_are_in_the_unit_that_reads_best(ns: int | None, said: str) -> None:
    assert length(ns) == said


# --- in the browser ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all of these tests: it takes a second to start."""
    with Browser() as found:
        yield found


_BARS = """[...document.querySelectorAll('[data-downtime-ns]')].map(track => {
    const bar = track.querySelector('.bar');
    return {downtime: Number(track.dataset.downtimeNs), scale: Number(track.dataset.scaleNs),
        track: track.getBoundingClientRect().width - track.clientLeft, bar: bar.getBoundingClientRect().width,
        start: bar.getBoundingClientRect().left - track.getBoundingClientRect().left - track.clientLeft,
        parts: [...bar.children].map(part => [part.className, part.getBoundingClientRect().width])};
})"""


@needs_chromium
@pytest.mark.parametrize("width", [1280, 400])
def test_the_width_of_a_bar_is_the_downtime_that_it_stands_for(drawn: Path, browser: Browser, width: int) -> None:
    browser.look_at(width)
    browser.go(drawn.as_uri())
    bars = browser.ask(_BARS)
    assert sorted(bar["downtime"] for bar in bars) == sorted([*(ms * 10**6 for ms in DOWNTIMES_MS), 77_000_000])
    for bar in bars:
        assert bar["start"] == 0
        assert bar["bar"] == pytest.approx(bar["track"] * bar["downtime"] / bar["scale"], abs=0.05)
    web = [bar for bar in bars if bar["scale"] == 500_000_000]
    assert len(web) == 4, "the bars of a jail share one scale"
    longest, shortest = max(web, key=lambda b: b["downtime"]), min(web, key=lambda b: b["downtime"])
    assert longest["bar"] / shortest["bar"] == pytest.approx(480 / 2, rel=0.03)


@needs_chromium
def test_so_is_the_width_of_each_part_of_a_bar(drawn: Path, browser: Browser) -> None:
    browser.look_at(1280)
    browser.go(drawn.as_uri())
    web = next(bar for bar in browser.ask(_BARS) if bar["downtime"] == 480_000_000)
    # Each of the five steps of the downtime took a tenth of it; what is left is the ledger's, and whatever else.
    wanted = {"s-stop": 0.1, "s-snapshot": 0.1, "s-remount": 0.1, "s-start": 0.1, "s-health": 0.1, "s-other": 0.5}
    for name, part in web["parts"]:
        assert part == pytest.approx(web["bar"] * wanted.pop(name), abs=0.1)
    assert not wanted


@needs_chromium
def test_a_mark_stands_where_its_change_began(drawn: Path, browser: Browser) -> None:
    browser.look_at(1280)
    browser.go(drawn.as_uri())
    marks = browser.ask("""[...document.querySelectorAll('.lane a')].map(mark => {
        const lane = mark.parentElement.getBoundingClientRect(), box = mark.getBoundingClientRect();
        return [mark.hash.slice(1), (box.left + box.width / 2 - lane.left) / mark.parentElement.clientWidth];
    })""")
    places = dict(marks)
    assert len(places) == 6
    assert places["00000001"] == pytest.approx(0, abs=0.002), "the period begins with the first change"
    assert list(places) == [*(f"0000000{n}" for n in (5, 6)), *(f"0000000{n}" for n in (1, 2, 3, 4))]
    for name in places:
        assert browser.ask(f"!!document.getElementById('{name}')"), "and leads to it"


@needs_chromium
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_and_reads_well_in_light_and_dark(drawn: Path, browser: Browser, width: int, dark: bool) -> None:
    browser.look_at(width, dark=dark)
    browser.go(drawn.as_uri())
    assert browser.ask("document.documentElement.scrollWidth") == width
    assert browser.ask(_CLIPPED) == []
    assert browser.ask(_CONTRASTS) == []


#: What is wider than the box that it stands in, and cannot be scrolled.
_CLIPPED = """[...document.querySelectorAll('p,h1,h2,h3,dt,dd,.what,.note,.len,td,li')]
    .filter(one => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== 'inline')
    .map(one => one.textContent.slice(0, 60))"""
#: Text of less contrast than WCAG 2.2 AA wants: 4.5 to 1.
_CONTRASTS = """(() => {
    const parse = text => text.match(/[\\d.]+/g).map(Number);
    const channel = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const ground = one => { while (one) { const c = parse(getComputedStyle(one).backgroundColor);
        if (c.length < 4 || c[3] > 0) return c; one = one.parentElement; } return [255, 255, 255]; };
    return [...document.querySelectorAll('p,h1,h2,h3,dt,dd,b,code,span,td,th,li,.note,.len')]
        .filter(one => one.textContent.trim()).map(one => {
            const [a, b] = [light(parse(getComputedStyle(one).color)), light(ground(one))].sort((x, y) => y - x);
            return [(a + 0.05) / (b + 0.05), one.textContent.slice(0, 40)]; })
        .filter(([ratio]) => ratio < 4.5); })()"""


@needs_chromium
def test_the_page_asks_for_nothing_and_runs_nothing(drawn: Path, browser: Browser) -> None:
    browser.look_at(1280)
    before = len(browser.requested)
    browser.go(drawn.as_uri())
    assert browser.requested[before:] == [drawn.as_uri()]
    assert browser.complaints == []
    assert browser.ask("document.scripts.length + document.images.length") == 0
    assert browser.ask("document.body.textContent").count("onerror=alert(2)") >= 2, "it is shown as what it is"


@needs_chromium
def test_it_can_be_printed(drawn: Path, browser: Browser, tmp_path: Path) -> None:
    browser.look_at(1280, media="print", dark=True)
    browser.go(drawn.as_uri())
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)", "even in the dark"
    browser.look_at(1280, media="")
    browser.print(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
