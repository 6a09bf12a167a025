"""The page in a real Chromium: what it shows, how it is steered, what it says when things go wrong.

Which browser, and what happens where there is none, is in `conftest.py`.
"""

import hashlib

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from streams.http.tokens import Access
from tests.browser.chromium import Browser
from tests.browser.opening import DRAWN, click, page, text_of
from tests.support.fake_reader import HOSTILE, FakeReader

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOXES = (
    "first_response response waiting interactions new_contacts closed_conversations new_conversations origins heatmap"
)
TOKEN = "acme's own"


async def test_every_box_is_shown_with_both_clocks_and_the_days_before(browser: Browser, reader: FakeReader) -> None:
    async with page(browser, reader) as tab:
        assert await tab.run("[...document.querySelectorAll('.card')].map(card => card.id.slice(4)).join(' ')") == (
            f"{BOXES} by_advisor by_group by_channel files"
        )
        median = await text_of(tab, "#box-first_response .clocks")
        assert "Business hours Elapsed" in median
        assert median.count("before") == 6
        assert "Within 5 min" in median
        assert await tab.run("document.querySelectorAll('.u-over').length") == 4


async def test_the_table_per_channel_has_the_counts_of_a_group_and_sorts(browser: Browser, reader: FakeReader) -> None:
    async with page(browser, reader) as tab:
        head = "[...document.querySelectorAll('#box-by_channel thead th')].map((one) => one.innerText.trim())"
        shown = await tab.run(head)
        assert shown[0].startswith("Channel")
        for column in ("New contacts", "New conversations", "Contacts still waiting", "Closed conversations"):
            assert column in shown
        names = "[...document.querySelectorAll('#box-by_channel tbody th')].map((one) => one.innerText.trim())"
        assert await tab.run(names) == ["call", "email", "messenger", "whatsapp"]
        await click(tab, "[data-key=sort-by_channel-new_conversations]")
        assert (await tab.run(names))[0] == "whatsapp"
        assert await tab.run("document.querySelector('[data-key=csv-by_channel]').getAttribute('href')") == (
            "api/v1/accounts/acme/metrics.csv?table=channels&period=last_7_days"
        )


async def test_under_an_advisor_filter_the_table_per_channel_keeps_what_advisors_do(
    browser: Browser, reader: FakeReader
) -> None:
    async with page(browser, reader, "?account=acme&advisor=ana") as tab:
        row = "[...document.querySelector('#box-by_channel tbody tr').cells].map((one) => one.innerText.trim())"
        cells = await tab.run(row)
        assert cells[0] == "call"
        assert cells[9:12] == ["–", "–", "–"]  # new contacts, new conversations, waiting
        assert "–" not in cells[1:9] + cells[12:]


async def test_the_page_says_as_of_when_which_revision_and_whose_clock(browser: Browser, reader: FakeReader) -> None:
    async with page(browser, reader) as tab:
        status = (await text_of(tab, ".status")).replace("\u202f", " ")
        assert status == "As of Nov 22, 2026, 2:03 PM (America/Santiago) · revision 7 · complete"
        assert await text_of(tab, ".account") == "Acme & hijos"
        assert await text_of(tab, ".span") == (
            "Nov 16, 2026 to Nov 22, 2026, compared with Nov 9, 2026 to Nov 15, 2026"
        )


async def test_an_incomplete_report_says_so(browser: Browser, reader: FakeReader) -> None:
    reader.complete = False
    async with page(browser, reader) as tab:
        assert "incomplete: 1,234 records not yet counted" in await text_of(tab, ".status")


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "incomplete: records were lost, complete from Nov 3, 2026, 7:00 AM on"),
        ("es", "incompleto: se perdieron registros, completo desde 3 nov 2026, 7:00"),
        ("pt", "incompleto: registros foram perdidos, completo a partir de 3 de nov. de 2026, 07:00"),
    ],
)
async def test_a_report_that_lost_its_beginning_says_from_when_it_is_complete(
    browser: Browser, reader: FakeReader, language: str, words: str
) -> None:
    reader.complete, reader.complete_from = False, "2026-11-03T10:00:00.000Z"
    async with page(browser, reader, f"?account=acme&lang={language}") as tab:
        status = (await text_of(tab, ".status")).replace("\u202f", " ").replace("\u00a0", " ")
        assert words in status


async def test_a_name_that_is_markup_is_shown_as_text(browser: Browser, reader: FakeReader) -> None:
    async with page(browser, reader) as tab:
        assert HOSTILE in await text_of(tab, "#box-origins")
        assert await tab.run("document.querySelectorAll('main img').length") == 0
    async with page(browser, reader, "?account=acme&origin=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E") as tab:
        assert HOSTILE in await text_of(tab, "[data-key=filter-origin]")


async def test_a_period_and_a_filter_go_into_the_address_and_back(browser: Browser, reader: FakeReader) -> None:
    async with page(browser, reader) as tab:
        await click(tab, "[data-key=period-last_month]")
        await tab.until("document.querySelector('.span').innerText.startsWith('Oct 1, 2026 to Oct 31, 2026')")
        await click(tab, "[data-key=filter-group-summary]")
        await click(tab, "[data-key=filter-group-sales]")
        await tab.until("document.querySelector('.filter.active')")
        await click(tab, "[data-key=filter-group-none]")
        await tab.until("document.querySelector('.filter.active').innerText.includes('Ventas, (none)')")
        assert await tab.run("location.search") == "?account=acme&period=last_month&group=sales&group=none"
        assert reader.asked[-1][3].group == ("sales", None)
        assert await tab.run("document.querySelector('[data-key=filter-group]').open")
        await tab.run("history.go(-3)")
        await tab.until("document.querySelector('.span').innerText.startsWith('Nov 16')")
        assert await tab.run("document.querySelector('.filter.active')") is None


async def test_an_address_is_a_view(browser: Browser, reader: FakeReader) -> None:
    async with page(browser, reader, "?account=acme&from=2026-11-01&to=2026-11-03&channel=email") as tab:
        assert await text_of(tab, ".span") == "Nov 1, 2026 to Nov 3, 2026, compared with Oct 29, 2026 to Oct 31, 2026"
        assert [(str(asked[1]), str(asked[2]), asked[3].channel) for asked in reader.asked] == [
            ("2026-11-01", "2026-11-03", ("email",))
        ]


async def test_under_the_advisor_filter_a_box_that_does_not_apply_says_so(browser: Browser, reader: FakeReader) -> None:
    async with page(browser, reader, "?advisor=ana") as tab:
        for box in ("new_contacts", "new_conversations", "origins", "heatmap"):
            assert "Does not apply under the advisor filter." in await text_of(tab, f"#box-{box}")


async def test_origins_sort_by_any_column(browser: Browser, reader: FakeReader) -> None:
    first = "document.querySelector('#box-origins tbody th').innerText"
    async with page(browser, reader) as tab:
        assert await tab.run(first) == "Instagram"
        await click(tab, "[data-key=sort-origins-engaged]")
        await click(tab, "[data-key=sort-origins-engaged]")
        assert (await text_of(tab, "#box-origins [aria-sort=ascending]")) == "Engaged ▲"
        engaged = await tab.run(
            "[...document.querySelectorAll('#box-origins td:nth-of-type(2) .value')].map(cell => +cell.innerText)"
        )
        assert engaged == sorted(engaged)


async def test_the_heatmap_is_walked_with_the_arrow_keys(browser: Browser, reader: FakeReader) -> None:
    async with page(browser, reader) as tab:
        await tab.run("document.querySelector('.heatmap td').focus()")
        for key in ("ArrowRight", "ArrowDown", "End", "ArrowRight"):
            await tab.press(key)
        assert await tab.run("document.activeElement.dataset.key") == "heat-1-23"
        readout = await text_of(tab, ".readout")
        assert readout.startswith("Tuesday 23:00: ")
        assert readout.endswith("on average over 1 such hours")
        cells = await tab.run("[...document.querySelectorAll('.heatmap td')].map(cell => +cell.innerText)")
        total = await tab.run("document.querySelector('#box-new_conversations .large .value').innerText")
        assert (len(cells), sum(cells)) == (168, int(total.replace(",", "")))


async def test_a_new_revision_is_shown_by_itself(browser: Browser, reader: FakeReader) -> None:
    async with page(browser, reader) as tab:
        reader.revision = 8
        # What the page does every 15 seconds it does as well when its tab is looked at again.
        await tab.run("document.dispatchEvent(new Event('visibilitychange'))")
        await tab.until("document.querySelector('.status').innerText.includes('revision 8')")
        assert await text_of(tab, "#announce") == "Updated to revision 8."


async def test_numbers_stay_when_redis_goes_and_the_page_says_so(browser: Browser, reader: FakeReader) -> None:
    async with page(browser, reader) as tab:
        reader.failure = RedisConnectionError("gone")
        await tab.run("document.dispatchEvent(new Event('visibilitychange'))")
        await tab.until("document.querySelector('.banner[role=alert]')")
        assert await tab.run(f"Boolean({DRAWN})")
        reader.failure = None
        await tab.run("document.dispatchEvent(new Event('visibilitychange'))")
        await tab.until("!document.querySelector('.banner')")


async def test_numbers_of_another_view_are_not_left_standing_under_an_error(
    browser: Browser, reader: FakeReader
) -> None:
    async with page(browser, reader) as tab:
        reader.failure = RedisConnectionError("gone")
        await click(tab, "[data-key=period-yesterday]")
        await tab.until("document.querySelector('.notice[role=alert]')")
        assert not await tab.run(f"Boolean({DRAWN})")


async def test_before_the_first_report_the_page_says_how_to_make_one(browser: Browser, reader: FakeReader) -> None:
    reader.accounts_published = []
    async with page(browser, reader, until="document.querySelector('.notice')") as tab:
        assert await text_of(tab, ".notice pre") == "mediana snapshot"
        reader.accounts_published = ["acme"]
        await tab.run("document.dispatchEvent(new Event('visibilitychange'))")
        await tab.until(DRAWN)


async def test_a_range_that_cannot_be_answered_can_be_mended_in_place(browser: Browser, reader: FakeReader) -> None:
    refused = "document.querySelector('.notice[role=alert]')"
    async with page(browser, reader, "?from=2026-11-22&to=2026-11-01", until=refused) as tab:
        assert "before it starts" in await text_of(tab, ".notice")
        await click(tab, "[data-key=period-today]")
        await tab.until(DRAWN)


async def test_the_token_is_asked_for_kept_in_the_tab_and_never_in_the_address(
    browser: Browser, reader: FakeReader
) -> None:
    access = Access({"acme": [hashlib.sha256(TOKEN.encode()).hexdigest()]})
    async with page(browser, reader, access=access, until="document.querySelector('[data-key=token]')") as tab:
        for token in ("wrong", TOKEN):
            await tab.run(f"document.querySelector('[data-key=token]').value = {token!r}")
            await tab.run("document.querySelector('form.notice').requestSubmit()")
            await tab.until(DRAWN if token == TOKEN else "document.querySelector('.notice [role=alert]')")
        assert await tab.run("sessionStorage.length + ' ' + localStorage.length + document.cookie") == "1 0"
        assert not any("own" in url for url in tab.requested)
        await click(tab, "[data-key=forget]")
        await tab.until("document.querySelector('[data-key=token]')")
        assert await tab.run("sessionStorage.length") == 0


@pytest.mark.parametrize(
    ("lang", "title", "median"),
    [("es", "Nuevos contactos y conversaciones", "Mediana"), ("pt", "Novos contatos e conversas", "Mediana")],
)
async def test_the_page_speaks_other_languages(
    browser: Browser, reader: FakeReader, lang: str, title: str, median: str
) -> None:
    async with page(browser, reader, f"?lang={lang}") as tab:
        assert await text_of(tab, "h1") == title
        assert median in await text_of(tab, "#box-response")
        await click(tab, "[data-key=period-today]")
        await tab.until("location.search.includes('period=today')")
        assert f"lang={lang}" in await tab.run("location.search")


@pytest.mark.parametrize("width", [360, 768, 1280])
async def test_nothing_is_wider_than_the_window(browser: Browser, reader: FakeReader, width: int) -> None:
    async with page(browser, reader, "?period=last_30_days", width=width) as tab:
        await tab.run("for (const details of document.querySelectorAll('.card details')) details.open = true")
        assert await tab.run("document.documentElement.scrollWidth") <= width


async def test_durations_are_readable(browser: Browser, reader: FakeReader) -> None:
    shown = {0: "0 s", 0.44: "0.4 s", 9.96: "10 s", 59.4: "59 s", 59.6: "1 min 00 s", 125: "2 min 05 s"}
    shown |= {3599.6: "1 h 00 min", 11100: "3 h 05 min", 86399: "1 d 00 h", 183600: "2 d 03 h"}
    script = "import('/static/format.js').then(f => new f.Formatter('en', {}, 'UTC').duration(%s))"
    async with page(browser, reader) as tab:
        for seconds, text in shown.items():
            assert await tab.run(script % seconds) == text
        assert await tab.run(script % "null") == "–"
