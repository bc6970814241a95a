"""What stands in the files for deployment, in one shape whatever their format: which process runs what, with which
environment, and where it is asked how it is. No engine is needed to read them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
COMPOSE = DEPLOY / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes"
SYSTEMD = DEPLOY / "systemd"
PROGRAM = "/opt/weibowatch/.venv/bin/weibowatch"
SAMPLE = "0123456789abcdef0123456789abcdef"
"""Stands for every secret that a person has to give."""
PLACES = {"$(SLOT)": "0", "%i": "0", "$(SOURCE)": "demo", "$SOURCES": "--source demo", "%S": "/var/lib"}


class Process(NamedTuple):
    """A process that some file starts: the words after ``weibowatch``, its environment, probes as (port, path)."""

    name: str
    words: list[str]
    environment: dict[str, str]
    probes: list[tuple[int, str]]


# --- Dockerfile --------------------------------------------------------------------------------------------------


def docker_stages() -> dict[str, list[tuple[str, str]]]:
    """Stage → (instruction, value) in order; build arguments of the head under ``""``."""
    parser = DockerfileParser(fileobj=io.BytesIO(DOCKERFILE.read_bytes()), env_replace=False)
    found: dict[str, list[tuple[str, str]]] = {"": []}
    stage = ""
    for step in parser.structure:
        if step["instruction"] == "FROM":
            stage = step["value"].split()[-1]
            found[stage] = []
        if step["instruction"] != "COMMENT":
            found[stage].append((step["instruction"], step["value"]))
    return found


def values(steps: list[tuple[str, str]], instruction: str) -> list[str]:
    """The values of one kind of instruction."""
    return [value for name, value in steps if name == instruction]


def image_environment(stage: str) -> dict[str, str]:
    """What ``ENV`` sets in ``stage``."""
    pairs = (pair.split("=", 1) for value in values(docker_stages()[stage], "ENV") for pair in value.split())
    return {name: value for name, value in pairs}


def docker_processes() -> Iterator[Process]:
    """What each image runs when nothing else is said."""
    for stage in ("cpu", "cuda"):
        steps = docker_stages()[stage]
        words = json.loads(values(steps, "ENTRYPOINT")[-1]) + json.loads(values(steps, "CMD")[-1])
        environment = {**image_environment(stage), "WEIBOWATCH_WEB__TOKEN": SAMPLE}
        yield Process(f"image {stage}", after_program(words), environment, [health_of(environment)])


def after_program(words: list[str]) -> list[str]:
    return words[[Path(word).name for word in words].index("weibowatch") + 1 :]


def health_of(environment: Mapping[str, str]) -> tuple[int, str]:
    """(port, path) of ``HEALTH_URL``."""
    found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/\S*)", environment["HEALTH_URL"])
    assert found, environment["HEALTH_URL"]
    return int(found[1]), found[2]


# --- compose -----------------------------------------------------------------------------------------------------


def compose() -> dict[str, Any]:
    """The file as it stands, with its ``${...}``."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return found


def interpolated(text: str) -> str:
    """As compose fills it in when every secret is given and nothing else."""

    def one(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else (found["default"] if found["default"] is not None else SAMPLE)

    return re.sub(r"\$\$|\$\{\w+(?::-(?P<default>[^}]*)|:\?[^}]+)\}", one, text)


def of_ours(service: Mapping[str, Any]) -> bool:
    return "build" in service


def compose_processes() -> Iterator[Process]:
    for name, service in compose()["services"].items():
        if of_ours(service) and "entrypoint" not in service:
            given = {key: interpolated(value) for key, value in service["environment"].items()}
            environment = {**image_environment("cpu"), **given}
            asked = not service.get("healthcheck", {}).get("disable", False)
            probes = [health_of(environment)] if asked else []
            yield Process(f"compose {name}", [interpolated(word) for word in service["command"]], environment, probes)


# --- Kubernetes --------------------------------------------------------------------------------------------------


def documents(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]


def kubernetes() -> list[dict[str, Any]]:
    """Every object, those of the kustomizations and the template of the secrets too."""
    return [one for path in sorted(KUBERNETES.rglob("*.yaml")) for one in documents(path)]


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [one for one in kubernetes() if one["kind"] in kinds]


def workloads() -> list[dict[str, Any]]:
    return of_kind("StatefulSet", "Deployment", "Job", "CronJob")


def pod_of(workload: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = workload["spec"]["template"]["spec"]
    return found


def kubernetes_processes() -> Iterator[Process]:
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind("ConfigMap")}
    secrets = {one["metadata"]["name"]: one["stringData"] for one in of_kind("Secret")}
    for workload in workloads():
        for container in pod_of(workload)["containers"]:
            environment = image_environment("cpu")
            for source in container["envFrom"]:
                if "configMapRef" in source:
                    environment |= maps[source["configMapRef"]["name"]]
                else:
                    environment |= dict.fromkeys(secrets[source["secretRef"]["name"]], SAMPLE)
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
            probes = [
                (ports[container[probe]["httpGet"]["port"]], container[probe]["httpGet"]["path"])
                for probe in ("startupProbe", "readinessProbe", "livenessProbe")
                if probe in container
            ]
            words = [PLACES.get(word, word) for word in container["args"]]
            yield Process(f"kubernetes {container['name']}", words, environment, probes)


# --- systemd -----------------------------------------------------------------------------------------------------


def units() -> list[Path]:
    return sorted([*SYSTEMD.glob("*.service"), *SYSTEMD.glob("*.target")])


def directives(path: Path) -> list[tuple[str, str, str]]:
    """(section, directive, value) in order; a directive may come several times."""
    found, section = [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            found.append((section, name, value))
    return found


def env_file(path: Path) -> dict[str, str]:
    """``NAME=value`` lines; an empty value is for a person to fill in."""
    lines = (line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def systemd_processes() -> Iterator[Process]:
    given = {name: value or SAMPLE for name, value in env_file(SYSTEMD / "weibowatch.env.example").items()}
    for path in SYSTEMD.glob("*.service"):
        environment = dict(given)
        words: list[str] = []
        for _, name, value in directives(path):
            for place, filled in PLACES.items():
                value = value.replace(place, filled)
            if name == "Environment":
                environment |= dict([value.split("=", 1)])
            elif name == "ExecStart":
                words = value.split()
        assert words[0] == PROGRAM, path.name
        yield Process(f"systemd {path.name}", words[1:], environment, [])


def processes() -> list[Process]:
    """All of them."""
    return [*docker_processes(), *compose_processes(), *kubernetes_processes(), *systemd_processes()]
