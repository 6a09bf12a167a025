"""`make test` runs every test once, in two halves, and fails when one of them does."""

import sys
from pathlib import Path

import pytest

from tests.halves import FIRST_HALF, halves, main

ROOT = Path(__file__).parents[2]


def test_the_halves_are_all_tests_and_no_test_is_in_both() -> None:
    first, others = halves(["pytest"])
    assert first == ["pytest", *FIRST_HALF]
    assert others == ["pytest", *(f"--ignore={folder}" for folder in FIRST_HALF)]
    assert all((ROOT / folder).is_dir() for folder in FIRST_HALF)


@pytest.mark.parametrize(("fails", "status"), [("neither", 0), ("first", 1), ("others", 1)])
def test_it_fails_when_one_half_does(fails: str, status: int, capfd: pytest.CaptureFixture[str]) -> None:
    script = (
        "import sys; which = 'others' if sys.argv[1].startswith('--') else 'first';"
        f"print(which, 'ran'); sys.exit(which == {fails!r})"
    )
    assert main([sys.executable, "-c", script]) == status
    assert sorted(capfd.readouterr().out.splitlines()) == ["first ran", "others ran"]
