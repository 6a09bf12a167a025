"""Whether everybody can use the page: axe over each of its states, sizes, keyboard, what stays put, what it weighs."""

import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from streams.http.tokens import Access
from tests.browser.axe import axe_source, violations
from tests.browser.chromium import Browser, Tab
from tests.browser.opening import DRAWN, click, page, text_of
from tests.support.fake_reader import FakeReader

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHONE, DESKTOP = 360, 1280
TRANSFER_BYTES = 160_000
"""What the page and its first numbers may weigh on the wire."""

TOKEN = "acme's own"
ACCESS = Access({"acme": [hashlib.sha256(TOKEN.encode()).hexdigest()]})
OPEN_ALL = "for (const one of document.querySelectorAll('.card details')) one.open = true; null"


def nothing(_: FakeReader) -> None:
    pass


def gap(reader: FakeReader) -> None:
    reader.complete, reader.complete_from = False, "2026-11-19T08:00:00.000Z"


def late(reader: FakeReader) -> None:
    reader.complete = False


def empty(reader: FakeReader) -> None:
    reader.empty = True


def unpublished(reader: FakeReader) -> None:
    reader.accounts_published = []


def broken(reader: FakeReader) -> None:
    reader.failure = RedisConnectionError("gone")


class State(NamedTuple):
    """One thing the page may show: how to bring it about, and when it is there."""

    prepare: Callable[[FakeReader], None] = nothing
    query: str = ""
    until: str = DRAWN
    access: Access | None = None
    then: str = "null"


REFUSED = "document.querySelector('.notice[role=alert]')"
STATES = {
    "full": State(then=OPEN_ALL),
    "filtered": State(
        query="origin=Google&origin=none&group=sales", then="document.querySelector('.filter').open = true"
    ),
    "of an advisor": State(query="advisor=ana"),
    "one day": State(query="period=today"),
    "incomplete": State(late),
    "lacking records": State(gap),
    "empty": State(empty, then=OPEN_ALL),
    "no report": State(unpublished, until="document.querySelector('.notice pre')"),
    "refused range": State(
        query="from=2026-11-22&to=2026-11-01", until="document.querySelector('.notice[role=alert]')"
    ),
    "without Redis": State(broken, until=REFUSED),
    "stale": State(then="document.dispatchEvent(new Event('visibilitychange'))"),
    "asking for a token": State(until="document.querySelector('[data-key=token]')", access=ACCESS),
    "wrong token": State(
        until="document.querySelector('[data-key=token]')",
        access=ACCESS,
        then="document.querySelector('[data-key=token]').value = 'x'; document.querySelector('form').requestSubmit()",
    ),
}
AFTERWARDS = {
    "stale": "document.querySelector('.banner[role=alert]')",
    "wrong token": "document.querySelector('.warn')",
}

LANGUAGES = ("en", "es", "pt")
# The fullest state in every language; of the others each in one, in turn.
CASES = [
    (name, lang)
    for i, name in enumerate(STATES)
    for lang in (LANGUAGES if name == "full" else (LANGUAGES[i % len(LANGUAGES)],))
]

SMALL_TARGETS = """[...document.querySelectorAll('a[href], button, select, input, summary')]
  .map((one) => one.type === 'checkbox' ? one.closest('label') : one)
  .filter((one) => one.checkVisibility() && !one.closest('.unseen'))
  .map((one) => [one.dataset.key ?? one.className ?? one.tagName, one.getBoundingClientRect(), one])
  .filter(([, { width, height }, one]) => {
    const least = innerWidth < 720 && one.matches(MAIN) ? 44 : 24;
    return Math.min(width, height) + 0.01 < least;
  })
  .map(([key, { width, height }]) => `${key}: ${width.toFixed(1)} x ${height.toFixed(1)}`)""".replace(
    "MAIN",
    "'.periods nav a, .range button, .filter summary, .filter label, .tools a, select, .card summary, form.notice *'",
)

HEADING_LEVELS = "[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map((one) => +one.tagName[1])"


@pytest.fixture(scope="module")
def axe() -> str:
    return axe_source()


@pytest.mark.parametrize(("name", "lang"), CASES)
async def test_nobody_is_kept_out_of_any_state_of_the_page(
    browser: Browser, reader: FakeReader, axe: str, name: str, lang: str
) -> None:
    state = STATES[name]
    state.prepare(reader)
    query = f"?lang={lang}&{state.query}"
    async with page(browser, reader, query, access=state.access, width=PHONE, until=state.until) as tab:
        if name == "stale":
            broken(reader)
        await tab.run(state.then)
        await tab.until(AFTERWARDS.get(name, "true"))
        assert await violations(tab, axe) == []
        await check_form(tab, PHONE, lang)
        await tab.look(width=DESKTOP, dark=True)
        assert await violations(tab, axe) == []
        await check_form(tab, DESKTOP, lang)
        if name == "full" or state.until != DRAWN:
            # Of the other looks only the colours differ, and states that show the report have those of the full one.
            for width, dark in ((DESKTOP, False), (PHONE, True)):
                await tab.look(width=width, dark=dark)
                assert await violations(tab, axe, "color-contrast") == []


async def check_form(tab: Tab, width: int, lang: str) -> None:
    """What axe does not look at: sizes, width, what the page is called, the order of headings."""
    assert await tab.run(SMALL_TARGETS) == []
    assert await tab.run("document.documentElement.scrollWidth") <= width
    assert await tab.run("document.documentElement.lang") == lang
    assert len(await tab.run("document.title")) > 20
    levels = await tab.run(HEADING_LEVELS)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert "undefined" not in await text_of(tab, "body")


async def test_a_fault_would_be_found(browser: Browser, reader: FakeReader, axe: str) -> None:
    async with page(browser, reader, width=PHONE) as tab:
        await tab.run("document.querySelector('.status').style.color = '#ccc'")
        await tab.run("document.querySelector('[data-key=range-apply]').replaceChildren()")
        await tab.run("document.querySelector('[data-key=period-today]').style.minHeight = '10px'")
        await tab.run("document.querySelector('[data-key=period-today]').style.padding = '0'")
        found = {(one.impact, one.rule) for one in await violations(tab, axe)}
        assert {("serious", "color-contrast"), ("critical", "button-name")} <= found
        assert [one.partition(":")[0] for one in await tab.run(SMALL_TARGETS)] == ["period-today", "range-apply"]


async def test_the_page_is_light_and_asks_nobody_else(browser: Browser, reader: FakeReader) -> None:
    async with page(browser, reader) as tab:
        assert len(tab.requested) < 30
        assert 20_000 < tab.transferred_bytes < TRANSFER_BYTES


# --- the keyboard --------------------------------------------------------------------------------------------------


FOCUS = """(() => {
  const one = document.activeElement, style = getComputedStyle(one);
  return JSON.stringify([one.dataset.key ?? one.textContent.trim().slice(0, 20),
    style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2]);
})()"""
REACHABLE = """[...document.querySelectorAll('a[href], button, select, input, summary, [tabindex="0"]')]
  .filter((one) => one.checkVisibility() && one.tabIndex >= 0).length"""


async def test_every_control_is_reached_by_tab_and_shows_its_focus(browser: Browser, reader: FakeReader) -> None:
    async with page(browser, reader) as tab:
        expected = await tab.run(REACHABLE)
        dates = await tab.run("document.querySelectorAll('input[type=date]').length")
        seen: list[str] = []
        await tab.run("document.body.focus()")
        while len(seen) < 3 * expected:
            await tab.press("Tab")
            key, shown = json.loads(await tab.run(FOCUS))
            if await tab.run("document.activeElement === document.body"):
                break
            assert shown, f"no focus to be seen on {key}"
            seen.append(key)
        # A field for a date has several stops of its own: day, month, year, picker.
        stops = [key for i, key in enumerate(seen) if i == 0 or seen[i - 1] != key]
        assert (len(stops), dates) == (expected, 2)
        assert {"period-today", "range-apply", "sort-origins-engaged", "heat-0-0", "csv-response"} <= set(stops)


async def focus(tab: Tab, key: str) -> None:
    await tab.run(f"document.querySelector('[data-key={key}]').focus()")


async def test_a_table_is_sorted_from_the_keyboard_and_keeps_the_focus(browser: Browser, reader: FakeReader) -> None:
    order = "document.querySelector('#box-origins [aria-sort]').ariaSort"
    async with page(browser, reader) as tab:
        assert await tab.run(order) == "descending"
        await focus(tab, "sort-origins-origin")
        for key, expected in (("Enter", "ascending"), (" ", "descending")):
            await tab.press(key)
            assert await tab.run(order) == expected
            assert await tab.run("document.activeElement.dataset.key") == "sort-origins-origin"


async def test_a_filter_is_set_and_left_from_the_keyboard(browser: Browser, reader: FakeReader) -> None:
    async with page(browser, reader) as tab:
        await focus(tab, "filter-group-summary")
        await tab.press("Enter")
        await tab.press("Tab")
        await tab.press(" ")
        await tab.until("document.querySelector('.filter.active')")
        assert await tab.run("document.activeElement.dataset.key") == "filter-group-support"
        assert reader.asked[-1][3].group == ("support",)
        await tab.press("Escape")
        assert await tab.run("document.activeElement.dataset.key") == "filter-group-summary"
        assert not await tab.run("document.querySelector('[data-key=filter-group]').open")


async def test_on_a_phone_the_heatmap_stands_upright_with_a_cell_for_every_finger(
    browser: Browser, reader: FakeReader
) -> None:
    async with page(browser, reader, width=PHONE) as tab:
        sizes = await tab.run(
            "[...document.querySelectorAll('.heatmap td')].map((one) => one.getBoundingClientRect())"
            ".map(({ width, height }) => Math.min(width, height))"
        )
        assert len(sizes) == 168
        assert min(sizes) >= 24
        await focus(tab, "heat-0-0")
        for key in ("ArrowRight", "ArrowDown", "ArrowDown", "End", "PageDown"):
            await tab.press(key)
        assert await tab.run("document.activeElement.dataset.key") == "heat-6-23"
        assert (await text_of(tab, ".readout")).startswith("Sunday 23:00: ")


# --- what stays put ------------------------------------------------------------------------------------------------


async def test_a_published_revision_is_told_and_nothing_moves_under_the_reader(
    browser: Browser, reader: FakeReader
) -> None:
    async with page(browser, reader, "?period=last_30_days", width=PHONE) as tab:
        await tab.until("document.querySelectorAll('.u-over').length === 4")
        await click(tab, "#box-new_contacts [data-key=days-new_contacts] summary")
        await tab.run("document.querySelector('[data-scroll=days-new_contacts]').scrollTop = 90")
        await tab.run("document.querySelector('[data-scroll=by_group]').scrollLeft = 70")
        await focus(tab, "sort-by_group-response_business")
        await tab.run("scrollTo(0, 2345)")
        where = (
            "[scrollY, document.activeElement.dataset.key, "
            "document.querySelector('[data-scroll=days-new_contacts]').scrollTop, "
            "document.querySelector('[data-scroll=by_group]').scrollLeft]"
        )
        before = await tab.run(where)
        assert before[:2] == [2345, "sort-by_group-response_business"]
        while not reader.subscriptions:
            await tab.run("new Promise((done) => setTimeout(done, 20))")
        reader.publish(8)
        await tab.until("document.querySelector('.status').innerText.includes('revision 8')")
        assert await tab.run(where) == before
        assert await text_of(tab, "#announce") == "Updated to revision 8."


# --- files ---------------------------------------------------------------------------------------------------------


async def test_every_table_is_a_file_of_the_view_that_is_shown(browser: Browser, reader: FakeReader) -> None:
    async with page(browser, reader, "?account=acme&period=last_month&group=none") as tab:
        links = await tab.run("[...document.querySelectorAll('a[download]')].map((one) => one.getAttribute('href'))")
        assert len(links) == 27
        assert "api/v1/accounts/acme/rows.csv?table=responses&period=last_month&group=none" in links
        statuses = await tab.run(f"Promise.all({json.dumps(links)}.map((one) => fetch(one).then((it) => it.status)))")
        assert set(statuses) == {200}


async def test_a_file_is_saved_with_the_token_and_without_it_in_the_address(
    browser: Browser, reader: FakeReader, tmp_path: Path
) -> None:
    async with page(browser, reader, access=ACCESS, until="document.querySelector('[data-key=token]')") as tab:
        await tab.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        await tab.run(f"document.querySelector('[data-key=token]').value = {TOKEN!r}")
        await tab.run("document.querySelector('form.notice').requestSubmit()")
        await tab.until(DRAWN)
        await click(tab, "[data-key=csv-new_contacts]")
        file = tmp_path / "mediana_acme_contacts_2026-11-16_2026-11-22.csv"
        for _ in range(200):
            if file.exists():
                break
            await tab.run("new Promise((done) => setTimeout(done, 20))")
        assert file.read_text(encoding="utf-8").startswith("contact_id,at,day,origin,group,channel,by,deleted,merged\n")
        reader.failure = RedisConnectionError("gone")
        await click(tab, "[data-key=csv-response]")
        await tab.until("document.querySelector('.failed[role=alert]')")
        assert "The file cannot be had." in await text_of(tab, "#box-response")
        assert not any("own" in url for url in tab.requested)


async def test_on_paper_there_are_numbers_and_no_controls_and_no_night(browser: Browser, reader: FakeReader) -> None:
    async with page(browser, reader, dark=True) as tab:
        await tab.look(width=DESKTOP, dark=True, media="print")
        shown = "document.querySelector('{}').checkVisibility()"
        assert not await tab.run(shown.format(".controls"))
        assert not await tab.run(shown.format("#box-files"))
        assert await tab.run(shown.format("#box-response .value"))
        assert (
            await tab.run("getComputedStyle(document.querySelector('.card')).backgroundColor") == "rgb(255, 255, 255)"
        )
