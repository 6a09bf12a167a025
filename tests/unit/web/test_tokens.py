"""`mediana token`, and a server that follows the file it writes."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from streams.cli.arguments import parse_arguments
from streams.cli.main import main
from streams.cli.tokens import TokenError, create, revoke
from streams.http.tokens import FileAccess, TokensFileError, read_digests


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["token", *arguments]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


@pytest.mark.parametrize("name", ["tokens.toml", "tokens.json"])
def test_a_token_opens_its_account_until_it_is_revoked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file = tmp_path / name
    first = printed(capsys, "create", "--account", "acme", "--file", str(file))
    second = printed(capsys, "create", "--account", 'Ñandú "sur"', "--file", str(file))
    assert FileAccess(file).opened_by(first["token"]) == {"acme"}
    assert FileAccess(file).opened_by(second["token"]) == {'Ñandú "sur"'}

    listed = printed(capsys, "list", "--file", str(file))["tokens"]
    assert listed == [{name: made[name] for name in ("account_id", "id")} for made in (first, second)]

    gone = printed(capsys, "revoke", "--id", first["id"], "--file", str(file))["revoked"]
    assert gone == [{"account_id": "acme", "id": first["id"]}]
    assert FileAccess(file).opened_by(first["token"]) == frozenset()
    assert FileAccess(file).opened_by(second["token"]) == {'Ñandú "sur"'}


def test_the_file_holds_digests_and_is_its_owners_only(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text("")
    file.chmod(0o644)
    token = str(create(file, "acme")["token"])
    assert len(token) == 43  # 256 bits in base64
    assert token not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["tokens.toml"]  # noqa: PTH208 - names are what is compared


def test_revoking_by_account_takes_all_of_its_tokens_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    tokens = [str(create(file, account)["token"]) for account in ("acme", "acme", "globex")]
    assert len(revoke(file, "acme", None)) == 2
    access = FileAccess(file)
    assert [access.opened_by(token) for token in tokens] == [frozenset(), frozenset(), {"globex"}]
    assert read_digests(file)["acme"] == []
    assert access.needs_token


def test_a_token_that_is_not_there_cannot_be_revoked_and_the_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    made = create(file, "acme")
    before = file.read_bytes()
    for account, token_id in ((None, "0123456789ab"), ("globex", None), ("globex", str(made["id"])), (None, "")):
        with pytest.raises(TokenError):
            revoke(file, account, token_id)
    assert file.read_bytes() == before


@pytest.mark.parametrize("account", ["", "a" * 257, "two\nlines", "\x7f"])
def test_an_account_that_no_file_could_name_is_refused(tmp_path: Path, account: str) -> None:
    with pytest.raises(TokenError):
        create(tmp_path / "tokens.toml", account)
    assert list(tmp_path.iterdir()) == []


def test_tokens_made_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    with ThreadPoolExecutor(8) as pool:
        tokens = [str(made["token"]) for made in pool.map(lambda _: create(file, "acme"), range(40))]
    access = FileAccess(file)
    assert [access.opened_by(token) for token in tokens] == [{"acme"}] * 40


def test_a_file_that_is_no_tokens_file_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text("acme = 5")
    with pytest.raises(TokensFileError):
        create(file, "acme")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["acme = 5"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokensFileError, match="cannot open the folder"):
        create(tmp_path / "none" / "tokens.toml", "acme")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text("")
    link = tmp_path / "tokens.toml"
    link.symlink_to("real.toml")
    create(link, "acme")
    assert link.is_symlink()
    assert list(read_digests(tmp_path / "real.toml")) == ["acme"]


def test_the_file_of_the_settings_is_used_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", "list"]) == 1
    assert "MEDIANA_HTTP_TOKENS_FILE" in capsys.readouterr().err
    monkeypatch.setenv("MEDIANA_HTTP_TOKENS_FILE", str(tmp_path / "tokens.toml"))
    made = printed(capsys, "create", "--account", "acme")
    assert made["file"] == str(tmp_path / "tokens.toml")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("create", "needs --account"),
        ("create --account a --id b", "takes no --id"),
        ("list --id b", "takes no --id"),
        ("revoke", "needs --id, or --account"),
    ],
)
def test_options_without_sense_are_refused(arguments: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["token", *arguments.split()])
    assert told in capsys.readouterr().err


# --- a server that runs -----------------------------------------------------------------------------------------------


def test_a_running_server_follows_the_file_a_second_later(tmp_path: Path) -> None:
    file, clock = tmp_path / "tokens.toml", Clock()
    first = str(create(file, "acme")["token"])
    access = FileAccess(file, clock)
    second = str(create(file, "globex")["token"])

    def opened() -> list[list[str]]:
        return [sorted(access.opened_by(token)) for token in (first, second)]

    clock.seconds += 0.9
    assert opened() == [["acme"], []]
    clock.seconds += 0.1
    assert opened() == [["acme"], ["globex"]]
    revoke(file, "acme", None)
    clock.seconds += 1
    assert opened() == [[], ["globex"]]


@pytest.mark.parametrize("broken", ["acme = ", None])
def test_a_file_that_breaks_while_the_server_runs_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str | None
) -> None:
    file, clock = tmp_path / "tokens.toml", Clock()
    token = str(create(file, "acme")["token"])
    access = FileAccess(file, clock)
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken)
    for _ in range(3):
        clock.seconds += 1
        assert access.opened_by(token) == {"acme"}
    assert [record.levelname for record in caplog.records] == ["ERROR"]  # told once, not with every request
    assert "the tokens read before stay in force" in caplog.text
    file.write_text("")
    clock.seconds += 1
    assert access.opened_by(token) == frozenset()


def test_a_server_does_not_start_with_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(TokensFileError):
        FileAccess(tmp_path / "none.toml")
