"""The forms in which a secret may be written, and addresses that hold one."""

import json
import tomllib
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.config import SETTINGS, Config, ConfigError, Secret
from streams.secrecy import HIDDEN, Hider, environment_secrets, toml_problem, url_secrets, without_userinfo

SECRETS = st.text(min_size=4, max_size=20).filter(lambda text: len(text.strip()) >= 4)


@given(SECRETS, st.text(max_size=5), st.text(max_size=5))
@example("pa'ss\"w\\ord\n", "'", '"')
@example("señora%40/?#", "", "")
def test_a_secret_is_hidden_in_every_form_that_a_program_writes_it(secret: str, before: str, after: str) -> None:
    clean = Hider([secret]).clean
    data = secret.encode("utf-8", "surrogatepass")
    marked = f"<{secret}>"
    for text in (
        marked,
        repr(marked),
        ascii(marked),
        repr(marked.encode("utf-8", "surrogatepass")),
        json.dumps(marked),
        json.dumps(marked, ensure_ascii=False),
        f"<{quote(data, safe='')}>",
        f"<{quote_plus(data)}>",
        repr(f"'{marked}"),
        repr(f'"{marked}'),
    ):
        shown = clean(before + text + after)
        assert f"<{HIDDEN}>" in shown, text


def test_a_short_secret_is_not_looked_for() -> None:
    assert Hider(["abc"]).clean("abc abcd") == "abc abcd"


@given(st.text(alphabet=st.characters(exclude_categories=["C"]), min_size=4, max_size=20))
def test_the_password_of_an_address_is_known_as_written_and_as_meant(password: str) -> None:
    escaped = quote(password, safe="")
    assert {password, escaped} <= url_secrets(f"redis://user:{escaped}@host:6379/0")
    assert password in url_secrets(f"redis://host:6379/0?password={escaped}")


@pytest.mark.parametrize("password", ["half/other", "half?other", "half#other", "half@other", "[half"])
def test_a_password_that_nobody_escaped_is_known_too(password: str) -> None:
    assert password in url_secrets(f"redis://:{password}@host:6379/0")


def test_an_address_without_password_has_no_secret() -> None:
    assert url_secrets("redis://127.0.0.1:6379/0") == set()


@pytest.mark.parametrize(
    "url",
    [
        "redis://:half/other@host:6379/0",
        "redis://:6379/other@host:6379/0",
        "redis://:half?other@host:6379/0",
        "redis://:6379?other@host",
        "redis://:half#other@host:6379/0",
        "redis://:6379#other",
        "redis://:ha\nlf@host:6379/0",
        "redis://:[half@host:6379/0",
        "redis://host:6379/half",
        "redis://:half@",
        "redis://",
        "unix://:half/other@/run/redis.sock",
    ],
)
def test_an_address_that_would_be_read_otherwise_is_refused_without_showing_any_of_it(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(redis_url=Secret(url))
    assert caught.value.setting == "MEDIANA_REDIS_URL"
    assert "half" not in str(caught.value)
    assert "other" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://host",
        "rediss://user:p%2Fa%23s%3Fs%40@host:6380/1",
        "redis://:a:b@c@host:6379/0",
        "redis://[::1]:6379/0",
        "redis://host:6379/0?protocol=3",
        "unix:///run/redis.sock?db=1",
        "redis://:señora mía@host:6379",
    ],
)
def test_addresses_that_are_meant_are_taken(url: str) -> None:
    assert Config(redis_url=Secret(url)).redis_url == url


def test_what_a_broker_is_named_with_is_no_password() -> None:
    for bootstrap in ("user:pw@host:9092", "host:9092#pw", "host:9092?password=pw", "host:9092/pw"):
        with pytest.raises(ConfigError, match="MEDIANA_KAFKA_BOOTSTRAP") as caught:
            Config(kafka_bootstrap=bootstrap)
        assert "pw" not in str(caught.value)


def test_every_secret_setting_is_known_before_any_setting_is_read() -> None:
    for setting in SETTINGS:
        if setting.secret:
            value = "redis://:hunter2@host" if setting.name == "redis_url" else "hunter2"
            assert "hunter2" in environment_secrets({setting.variable: value}), setting.variable


def test_an_address_in_a_text_loses_its_user() -> None:
    assert without_userinfo("from redis://u:p@h:1/0 on") == "from redis://***@h:1/0 on"


def test_a_broken_toml_file_is_named_by_its_place_alone() -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        tomllib.loads('password = "a\x01b"')
    assert toml_problem(caught.value) == "is not TOML (at line 1, column 14)"
