"""Instants as people's files write them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidEvent
from streams.ingest.instants import is_no_time, read_instant

ZONE = "America/Santiago"
"""Three hours behind UTC in November."""


@pytest.mark.parametrize(
    ("text", "form", "instant"),
    [
        ("22/11/2024 10:00:00 p. m.", "%d/%m/%Y %I:%M:%S %p", "2024-11-23T01:00:00"),
        ("22/11/2024 10:00:00\u00a0p.\u00a0m.", "%d/%m/%Y %I:%M:%S %p", "2024-11-23T01:00:00"),
        ("22/11/2024 10:00:00\u202fPM", "%d/%m/%Y %I:%M:%S %p", "2024-11-23T01:00:00"),
        ("22/11/2024 10:00:00 P.M.", "%d/%m/%Y %I:%M:%S %p", "2024-11-23T01:00:00"),
        ("22/11/2024 10:00:00pm", "%d/%m/%Y %I:%M:%S %p", "2024-11-23T01:00:00"),
        ("22/11/2024 12:30 a. m.", "%d/%m/%Y %I:%M %p", "2024-11-22T03:30:00"),
        ("22/11/2024 12:00 m.", "%d/%m/%Y %I:%M %p", "2024-11-22T15:00:00"),
        ("22-ene-2024", "%d-%b-%Y", "2024-01-22T03:00:00"),
        ("22-ene.-2024", "%d-%b-%Y", "2024-01-22T03:00:00"),
        ("22-ENE-2024", "%d-%b-%Y", "2024-01-22T03:00:00"),
        ("22 sept. 2024", "%d %b %Y", "2024-09-22T03:00:00"),
        ("22/set/2024", "%d/%b/%Y", "2024-09-22T03:00:00"),
        ("22 de noviembre de 2024 10:00", "%d de %B de %Y %H:%M", "2024-11-22T13:00:00"),
        ("22 de março de 2024", "%d de %B de %Y", "2024-03-22T03:00:00"),
        ("02 out 2024", "%d %b %Y", "2024-10-02T03:00:00"),
        ("Nov 22, 2024 10:00", "%b %d, %Y %H:%M", "2024-11-22T13:00:00"),
        ("viernes, 22 de noviembre de 2024", "%A, %d de %B de %Y", "2024-11-22T03:00:00"),
        ("mar. 26 nov 2024", "%a %d %b %Y", "2024-11-26T03:00:00"),
        ("sexta-feira, 22 de novembro de 2024", "%A, %d de %B de %Y", "2024-11-22T03:00:00"),
        ("22/11/2024 10:00", "%d/%m/%Y %H:%M:%S", "2024-11-22T13:00:00"),
        ("22/11/2024 10:00:07", "%d/%m/%Y %H:%M", "2024-11-22T13:00:07"),
        ("22/11/2024  10:00", "%d/%m/%Y %H:%M", "2024-11-22T13:00:00"),
        ("22/11/2024 10:00:00.9999999", "%d/%m/%Y %H:%M:%S", "2024-11-22T13:00:00.999999"),
        ("2024-11-22 10:00", "iso", "2024-11-22T13:00:00"),
        ("2024-11-22T23:59:59.9999999Z", "iso", "2024-11-22T23:59:59.999999"),
        ("2024-11-22 10:00:00 UTC", "iso", "2024-11-22T10:00:00"),
        ("2024-11-22T10:00:00Z", "%Y-%m-%dT%H:%M:%SZ", "2024-11-22T10:00:00"),
        ("1732280400", "unix", "2024-11-22T13:00:00"),
        ("1732280400.9999999", "unix", "2024-11-22T13:00:00.999999"),
        ("1732280400999", "unix_ms", "2024-11-22T13:00:00.999000"),
        ("45618.41667", "excel", "2024-11-22T13:00:00"),
        ("45618,41667", "excel", "2024-11-22T13:00:00"),
        ("45618.416666666664", "excel", "2024-11-22T13:00:00"),
        ("45618", "excel", "2024-11-22T03:00:00"),
    ],
)
def test_a_time_is_read_as_it_is_meant(text: str, form: str, instant: str) -> None:
    assert read_instant(text, form, ZONE) == datetime.fromisoformat(instant).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "form", "said"),
    [
        ("0", "unix", "is no time"),
        ("0", "excel", "is no time"),
        ("0.0", "unix_ms", "is no time"),
        ("0000-00-00 00:00:00", "iso", "is no time"),
        ("1970-01-01T00:00:00Z", "iso", "before 1990"),
        ("31/12/1969 21:00:00", "%d/%m/%Y %H:%M:%S", "before 1990"),
        ("1", "unix", "before 1990"),
        ("45618.41667", "unix", "'excel'"),
        ("45618.41667", "unix_ms", "'excel'"),
        ("45618.41667", "iso", "'excel'"),
        ("45618.41667", "%d/%m/%Y", "'excel'"),
        ("1732280400000", "unix", "'unix_ms'"),
        ("1732280400", "unix_ms", "'unix'"),
        ("1732280400", "iso", "'unix'"),
        ("1732280400", "excel", "'unix'"),
        ("22/11/2024", "iso", "no instant of the form 'iso'"),
        ("NaN", "unix", "is no time"),
    ],
)
def test_what_is_no_time_is_refused_with_the_form_that_it_looks_like(text: str, form: str, said: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        read_instant(text, form, ZONE)
    assert caught.value.reason == "bad-time"
    assert said in caught.value.detail


def test_nothing_and_zero_are_no_time() -> None:
    assert all(map(is_no_time, [None, "", " ", "0", "0.0", "00", "-", "NULL", "n/a", "0000-00-00", "00/00/0000 00:00"]))
    assert not any(map(is_no_time, ["1", "2024-11-22", "10:00", "zero"]))


FORMS = ["iso", "unix", "unix_ms", "excel", "%d/%m/%Y %I:%M:%S %p", "%A, %d de %B de %Y"]


@given(st.text(max_size=30), st.sampled_from(FORMS))
def test_whatever_the_text_it_is_an_instant_or_refused(text: str, form: str) -> None:
    try:
        assert read_instant(text, form, ZONE).tzinfo is UTC
    except InvalidEvent:
        return


@given(st.datetimes(datetime(1990, 1, 2), datetime(2100, 1, 1)))  # noqa: DTZ001 - naive by intent
def test_a_spreadsheets_date_is_the_second_that_was_meant(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    days = (moment - datetime(1899, 12, 30)).total_seconds() / 86_400  # noqa: DTZ001
    assert read_instant(repr(days), "excel", "UTC") == moment.replace(tzinfo=UTC)
