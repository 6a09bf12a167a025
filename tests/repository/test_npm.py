"""Archives of npm packages: fetched once, from the registry that is configured, and refused when they are others."""

import base64
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests import npm
from tests.npm import Package, Unfetched, archive, npm_setting, unpack


def tarball(top: str, files: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return content.getvalue()


def package_of(content: bytes, name: str = "left-pad") -> Package:
    return Package(name, "1.2.3", base64.b64encode(hashlib.sha512(content).digest()).decode())


@dataclass
class Registry:
    """Answers what it has under a path; the first `failures` requests fail with 503."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failures: int = 0
    address: str = ""

    def environment(self) -> dict[str, str]:
        return {"npm_config_registry": f"{self.address}/mirror/", "HOME": "/nonexistent"}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setattr(npm, "PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    known = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known.asked.append(self.path)
            content = known.files.get(self.path)
            failing = len(known.asked) <= known.failures
            self.send_response(503 if failing else 404 if content is None else 200)
            self.end_headers()
            if not failing and content is not None:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        known.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield known
        server.shutdown()
        thread.join()


def test_an_archive_is_fetched_once_from_the_configured_registry(registry: Registry, tmp_path: Path) -> None:
    content = tarball("package", {"index.js": "1"})
    registry.files["/mirror/left-pad/-/left-pad-1.2.3.tgz"] = content
    for _ in range(2):
        file = archive(package_of(content), tmp_path / "cache", registry.environment())
        assert file == tmp_path / "cache" / "left-pad-1.2.3.tgz"
        assert file.read_bytes() == content
    assert registry.asked == ["/mirror/left-pad/-/left-pad-1.2.3.tgz"]
    assert [one.name for one in (tmp_path / "cache").iterdir()] == ["left-pad-1.2.3.tgz"]


def test_a_package_of_a_scope_is_asked_for_and_kept_as_npm_does(registry: Registry, tmp_path: Path) -> None:
    content = tarball("package", {"index.js": "1"})
    registry.files["/mirror/@redis/client/-/client-1.2.3.tgz"] = content
    file = archive(package_of(content, "@redis/client"), tmp_path, registry.environment())
    assert file.name == "redis-client-1.2.3.tgz"


def test_a_registry_that_is_busy_is_asked_again(registry: Registry, tmp_path: Path) -> None:
    content = tarball("package", {"index.js": "1"})
    registry.files["/mirror/left-pad/-/left-pad-1.2.3.tgz"] = content
    registry.failures = 2
    assert archive(package_of(content), tmp_path, registry.environment()).exists()
    assert len(registry.asked) == 3


@pytest.mark.parametrize(
    ("content", "failures", "requests", "problem"),
    [
        (None, 0, 1, "HTTP Error 404"),
        (b"<html>sign in</html>", 0, 1, "is another file than the pinned one"),
        (None, 9, npm.ATTEMPTS, "HTTP Error 503"),
    ],
)
def test_one_that_cannot_be_had_says_what_to_do_and_leaves_nothing(
    registry: Registry, tmp_path: Path, content: bytes | None, failures: int, requests: int, problem: str
) -> None:
    if content is not None:
        registry.files["/mirror/left-pad/-/left-pad-1.2.3.tgz"] = content
    registry.failures = failures
    with pytest.raises(Unfetched, match=problem) as told:
        archive(package_of(b"the pinned one"), tmp_path, registry.environment())
    assert "run `npm pack left-pad@1.2.3` elsewhere and put left-pad-1.2.3.tgz into" in str(told.value)
    assert len(registry.asked) == requests
    assert list(tmp_path.iterdir()) == []


def test_nobody_there_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npm, "PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(Unfetched, match="refused"):
        archive(package_of(b""), tmp_path, {"npm_config_registry": "http://127.0.0.1:9"})
    with pytest.raises(Unfetched, match="unknown url type"):
        archive(package_of(b""), tmp_path, {"npm_config_registry": "no-address"})


def test_a_file_that_was_changed_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "left-pad-1.2.3.tgz").write_bytes(b"something else")
    with pytest.raises(Unfetched, match="delete it"):
        archive(package_of(b"the pinned one"), tmp_path)


def test_packages_are_laid_out_as_node_looks_for_them(tmp_path: Path) -> None:
    package = tarball("package", {"package.json": "{}", "lib/a.js": "a"})
    odd = tarball("client-master", {"package.json": "{}", "../../outside": "no"})
    for content, name in ((package, "left-pad-1.2.3.tgz"), (odd, "redis-client-1.2.3.tgz")):
        (tmp_path / name).write_bytes(content)
    modules = tmp_path / "node_modules"
    unpack([package_of(package), package_of(odd, "@redis/client")], modules, tmp_path)
    assert {str(file.relative_to(modules)) for file in modules.rglob("*") if file.is_file()} == {
        *("left-pad/package.json", "left-pad/lib/a.js", "@redis/client/package.json")
    }
    assert not (tmp_path / "outside").exists()


def test_settings_of_npm_come_from_the_environment_then_from_its_files(tmp_path: Path) -> None:
    first, second = tmp_path / "user", tmp_path / "system"
    first.write_text("; a comment\nregistry = https://mirror.example/npm/\n")
    second.write_text("registry=https://other.example\ncafile='/etc/ca.pem'\n")
    files = (tmp_path / "none", first, second)
    assert npm_setting("registry", {"NPM_CONFIG_REGISTRY": "https://env.example"}, files) == "https://env.example"
    assert npm_setting("registry", {}, files) == "https://mirror.example/npm/"
    assert npm_setting("cafile", {}, files) == "/etc/ca.pem"
    assert npm_setting("proxy", {}, files) == ""
