"""Get the servers' files once per user, and check every one of them against its pinned digest."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from deploy.errors import Failure
from deploy.settings import of_the_user

HERE: Final = Path(__file__).parent
ELASTIC_VERSIONS: Final = {"8.19": "8.19.21", "9": "9.5.3"}
JAVA_NEEDED: Final = {"8.19": 17, "9": 21}
KAFKA_VERSION: Final = "4.1.0"
KAFKA_JAVA: Final = 17
_ELASTIC: Final = "org.elasticsearch.distribution.integ-test-zip:elasticsearch"
_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
INSTALL: Final = "sudo apt-get install -y openjdk-17-jre-headless maven"


def default_cache() -> Path:
    """Where fetched files stay, shared by all checkouts of this user."""
    return Path(of_the_user("XDG_CACHE_HOME") or Path.home() / ".cache") / "weibowatch" / "services"


def digests(path: Path = HERE / "digests.txt") -> dict[str, str]:
    """``kafka/NAME`` or ``elasticsearch/NAME`` → sha256 in hex, as pinned."""
    lines = (line.split() for line in path.read_text(encoding="ascii").splitlines() if line.strip())
    return {name: digest for digest, name in lines}


def kafka_jars(cache_folder: Path, pinned: dict[str, str] | None = None) -> Path:
    """The folder of Kafka's jars. Raises ``Failure``."""
    wanted = {name.partition("/")[2]: digest for name, digest in _pinned(pinned, "kafka/").items()}
    goals = [f"{_PLUGIN}:copy-dependencies", "-DincludeScope=runtime"]
    what = f"Kafka {KAFKA_VERSION}"
    return _fetched(cache_folder / f"kafka-{KAFKA_VERSION}", wanted, "kafka-pom.xml", goals, what)


def elastic_zip(cache_folder: Path, version: str, pinned: dict[str, str] | None = None) -> Path:
    """The zip of an Elasticsearch of ``ELASTIC_VERSIONS``. Raises ``Failure``."""
    full = ELASTIC_VERSIONS[version]
    name = f"elasticsearch-{full}.zip"
    wanted = {name: _pinned(pinned, "elasticsearch/")[f"elasticsearch/{name}"]}
    goals = [f"{_PLUGIN}:copy", f"-Dartifact={_ELASTIC}:{full}:zip"]
    what = f"Elasticsearch {full}"
    return _fetched(cache_folder / f"elasticsearch-{full}", wanted, "elasticsearch-pom.xml", goals, what) / name


def _pinned(pinned: dict[str, str] | None, prefix: str) -> dict[str, str]:
    return {name: digest for name, digest in (pinned or digests()).items() if name.startswith(prefix)}


def _fetched(folder: Path, wanted: dict[str, str], pom: str, goals: list[str], what: str) -> Path:
    """``folder``, filled in one step: who finds it finds all of it."""
    if folder.exists():
        if _wrong(folder, wanted) is None:
            return folder
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        mvn = shutil.which("mvn")
        if mvn is None:
            raise Failure(f"mvn is missing; it fetches {what}. Install it: {INSTALL}")
        command = [mvn, "-q", "-B", "-f", str(HERE / pom), *goals, f"-DoutputDirectory={part}"]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            detail = next((line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line), "no output")
            raise Failure(f"mvn could not fetch {what}: {detail.strip()[:500]}. Is there a network, and room?")
        if (wrong := _wrong(part, wanted)) is not None:
            raise Failure(f"{what}: {wrong} does not have the pinned sha256. It was not used; try again or report it.")
        part.chmod(0o755)
        try:
            part.rename(folder)
        except OSError:
            if not folder.exists():  # else somebody was faster, with the same files
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _wrong(folder: Path, wanted: dict[str, str]) -> str | None:
    """The first file that is missing, not as pinned, or not pinned at all."""
    for path in folder.iterdir():
        if path.name not in wanted:
            return path.name
    for name, digest in sorted(wanted.items()):
        path = folder / name
        if not path.exists() or _sha256(path) != digest:
            return name
    return None


def _sha256(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


@cache
def java(least: int) -> Path:
    """A Java of at least this version: of JAVA_HOME, on the path, else below /usr/lib/jvm. Raises ``Failure``."""
    home, on_path = of_the_user("JAVA_HOME"), shutil.which("java")
    found = [Path(home, "bin", "java")] if home else []
    found += [Path(on_path)] if on_path else []
    found += sorted(Path("/usr/lib/jvm").glob("*/bin/java"))
    versions = [_java_version(path) for path in found]
    for path, version in zip(found, versions, strict=True):
        if version >= least:
            return path.resolve()
    there = f" (there is Java {max(versions)})" if any(versions) else ""
    if least <= KAFKA_JAVA:
        raise Failure(f"Java {least} or newer is missing{there}. Install it: {INSTALL}")
    raise Failure(
        f"Java {least} or newer is missing{there}. Install a JDK below /usr/lib/jvm, or name its folder in JAVA_HOME; "
        "--elastic 8.19 needs Java 17 only."
    )


def has_java(least: int) -> bool:
    """Whether there is a Java of at least this version."""
    try:
        java(least)
    except Failure:
        return False
    return True


def _java_version(path: Path) -> int:
    try:
        told = subprocess.run([path, "-version"], capture_output=True, text=True).stderr
    except OSError:
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    return int(found[1]) if found else 0
