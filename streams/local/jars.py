"""Fetches Apache Kafka's jars from Maven Central into a cache, and finds Java.

`python -m streams.local.jars` fetches them and prints the folder.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from streams.local.errors import LocalStackError

KAFKA_VERSION = "4.1.1"
# Kafka logs through slf4j 1.7; this binding writes to standard error and needs no file of its own.
SLF4J_VERSION = "1.7.36"
# Pinned like the rest: without a version, Maven takes whatever its own release brought along.
DEPENDENCY_PLUGIN_VERSION = "3.8.1"
OLDEST_JAVA = 17

_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>mediana</groupId>
  <artifactId>local-kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>{SLF4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""
_NETWORK_SIGNS = ("Unknown host", "Could not transfer", "Connect to", "timed out", "Connection refused", "offline mode")


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where fetched jars live: MEDIANA_CACHE, else `mediana` in XDG_CACHE_HOME, else ~/.cache/mediana."""
    if chosen := environment.get("MEDIANA_CACHE"):
        return Path(chosen)
    if shared := environment.get("XDG_CACHE_HOME"):
        return Path(shared) / "mediana"
    return Path.home() / ".cache" / "mediana"


def java_command(environment: Mapping[str, str] = os.environ) -> str:
    """The `java` to run: of JAVA_HOME, else from PATH. Raises LocalStackError when missing or older than 17."""
    home = environment.get("JAVA_HOME")
    candidate = shutil.which(str(Path(home) / "bin" / "java") if home else "java", path=environment.get("PATH"))
    advice = "Install Java 17 or newer (Debian, Ubuntu: apt install openjdk-17-jre-headless), or set JAVA_HOME to one."
    if candidate is None:
        raise LocalStackError(f"No java in {home}/bin (JAVA_HOME)." if home else "Java is not on the PATH.", advice)
    told = subprocess.run([candidate, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(?:1\.)?(\d+)', told.stderr + told.stdout)
    if version is None:
        raise LocalStackError(f"{candidate} -version says nothing of use: {told.stderr.strip()}", advice)
    if int(version[1]) < OLDEST_JAVA:
        raise LocalStackError(f"{candidate} is Java {version[1]}; Kafka {KAFKA_VERSION} needs {OLDEST_JAVA}.", advice)
    return candidate


def kafka_jars(cache: Path | None = None, report: Callable[[str], None] = print) -> Path:
    """The folder with Kafka's jars, fetched when it is not there yet (about 45 MB, 5 to 60 s).

    Two callers at once fetch once; an interrupted fetch leaves nothing that looks complete. `report` is told, a line
    at a time, when it takes long. Raises LocalStackError without Maven, or when Maven cannot reach its repository.
    """
    cache = cache or cache_folder()
    jars = cache / f"kafka-{KAFKA_VERSION}-slf4j-{SLF4J_VERSION}"
    if jars.is_dir():
        return jars
    with _locked(cache, report):
        if not jars.is_dir():  # the other caller may have fetched it meanwhile
            report(f"fetching Apache Kafka {KAFKA_VERSION} with Maven into {cache} (about 45 MB, once)")
            with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache) as folder:
                fetched = _fetch(Path(folder))
                fetched.rename(jars)
    return jars


@contextlib.contextmanager
def _locked(cache: Path, report: Callable[[str], None]) -> Iterator[None]:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / "lock").open("w")
    except OSError as error:
        raise LocalStackError(
            f"The cache folder {cache} cannot be written: {error.strerror}.",
            "Name another one: MEDIANA_CACHE=/some/folder",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"waiting for another fetch into {cache} to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield  # closing the file gives the lock back


def _fetch(folder: Path) -> Path:
    maven = shutil.which("mvn")
    if maven is None:
        raise LocalStackError(
            "Maven (mvn) is not on the PATH; Kafka's jars are fetched with it.",
            "Install Maven (Debian, Ubuntu: apt install maven), or copy the cache folder of a machine that has them\n"
            f"and name it: MEDIANA_CACHE=/some/folder (it needs kafka-{KAFKA_VERSION}-slf4j-{SLF4J_VERSION}/*.jar)",
        )
    (folder / "pom.xml").write_text(_POM)
    told = subprocess.run(
        [
            *(maven, "--batch-mode", "--no-transfer-progress", "--quiet", "--file", str(folder / "pom.xml")),
            f"org.apache.maven.plugins:maven-dependency-plugin:{DEPENDENCY_PLUGIN_VERSION}:copy-dependencies",
            *("-DincludeScope=runtime", "-DoutputDirectory=" + str(folder / "jars")),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if told.returncode != 0 or not list((folder / "jars").glob(f"kafka_2.13-{KAFKA_VERSION}.jar")):
        ending = "\n".join(told.stdout.strip().splitlines()[-8:])
        offline = any(sign in told.stdout for sign in _NETWORK_SIGNS)
        raise LocalStackError(
            f"Maven could not fetch Kafka's jars (exit status {told.returncode}):\n{ending}",
            "It looks as if Maven Central cannot be reached: check the network, or name a proxy or a mirror in\n"
            "~/.m2/settings.xml. Fetched once, the jars are kept."
            if offline
            else "Run it again; if it stays, `mvn -version` should name Java 17 or newer.",
        )
    return folder / "jars"


def main() -> int:
    """Check Java, fetch the jars, print their folder; exit status 1 with the reason on standard error."""
    try:
        java_command()
        print(kafka_jars(report=lambda line: print(line, file=sys.stderr)))
    except LocalStackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
