"""The files for deployment, by parsers and schemas, since no container engine and no Kubernetes runs here.

Schemas: compose-spec's as check-jsonschema carries it, Kubernetes' own as kubernetes-validate carries them. KEDA's
kinds have none there and are held by hand. Commands and options are those of the real command line, variables those of
the real settings, paths of probes those that real servers answer.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import kubernetes_validate
import pytest
import typer
from prometheus_client import CollectorRegistry

from deploy.cli import app
from deploy.probes import probes
from deploy.services.fetch import ELASTIC_VERSIONS
from deploy.settings import PREFIX, SECRETS, Settings, load
from index.guard import is_loopback
from stream.contract import signals
from stream.runtime.topics import Names
from tests.deploy import manifests
from tests.deploy.manifests import DEPLOY, KUBERNETES, ROOT, SYSTEMD, Process
from tests.index.serving import served

VERSIONS = ("1.29", "1.33", kubernetes_validate.latest_version())
"""Of Kubernetes: an old one that sets the label of a pod's index, one between, the newest that is known."""
PINNED = re.compile(r"[\w./-]+:\d+\.\d+(\.\d+)?[\w.-]*(@sha256:[0-9a-f]{64})?|[\w./-]+@sha256:[0-9a-f]{64}")
PROCESSES = manifests.processes()
PARTITIONS = Settings().kafka.partitions


def each(process: Process) -> str:
    return process.name


# --- every format: commands, settings, probes ---------------------------------------------------------------------


@pytest.mark.parametrize("process", PROCESSES, ids=each)
def test_commands_and_options_are_those_of_the_command_line(process: Process) -> None:
    command: Any = typer.main.get_command(app)
    words = list(process.words)
    while hasattr(command, "commands"):
        assert words and words[0] in command.commands, f"{process.name}: no command {process.words}"
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)


@pytest.mark.parametrize("process", PROCESSES, ids=each)
def test_the_environment_is_settings_that_load(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(None, process.environment)
    assert Path(settings.store.directory).is_absolute()
    assert settings.privacy.author_key or process.words[0] == "run", "pseudonyms must not depend on the machine"
    if process.words[0] in ("run", "serve"):
        assert is_loopback(settings.web.host) or settings.web.token
    for port, _ in process.probes:
        hosts = {
            settings.web.port: settings.web.host,
            settings.worker.http_port: settings.worker.http_host,
            settings.ingest.http_port: settings.ingest.http_host,
        }
        assert hosts[port] == "0.0.0.0"
        own = {"worker": settings.worker.http_port, "ingest": settings.ingest.http_port}
        assert port == own.get(process.words[0], settings.web.port)


def setting(variable: str) -> str:
    return variable.removeprefix(PREFIX).lower().replace("__", ".", 1)


def test_secrets_are_asked_for_and_never_written_down() -> None:
    given = [item for process in PROCESSES for item in process.environment.items() if setting(item[0]) in SECRETS]
    assert {setting(name) for name, _ in given} >= {"web.token", "privacy.author_key", "elastic.password"}
    assert {value for _, value in given} == {manifests.SAMPLE}


async def test_probes_ask_for_paths_that_are_served(tmp_path: Path) -> None:
    asked = {(process.words[0], path) for process in PROCESSES for _, path in process.probes}
    assert {command for command, _ in asked} == {"run", "serve", "worker", "ingest"}
    own = probes("127.0.0.1", 0, setting="worker.http_port", status=dict, registry=CollectorRegistry())
    async with served(tmp_path / "index.db", token="hush") as dashboard, own as address:
        bases = {"worker": address.removesuffix("/healthz"), "ingest": address.removesuffix("/healthz")}
        async with aiohttp.ClientSession() as session:
            for command, path in sorted(asked):
                async with session.get(bases.get(command, dashboard.base) + path, allow_redirects=False) as answer:
                    assert answer.status == 200, f"{command} does not serve {path}"


# --- Dockerfile --------------------------------------------------------------------------------------------------


def test_the_bases_are_pinned() -> None:
    stages = manifests.docker_stages()
    arguments = dict(value.split("=", 1) for value in manifests.values(stages[""], "ARG"))
    assert all(PINNED.fullmatch(image) for image in arguments.values())
    for name, steps in stages.items():
        for value in manifests.values(steps, "FROM"):
            assert value.split()[0].strip("${}") in arguments, f"{name} begins with {value}"


def test_everything_that_is_copied_exists_and_reaches_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sources = [
        source
        for steps in manifests.docker_stages().values()
        for value in manifests.values(steps, "COPY")
        if not value.startswith("--from=")
        for source in value.split()[:-1]
    ]
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored and source not in ignored
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = re.findall(r'"(\w+)\*"', pyproject.split("packages.find")[1].split("\n\n")[0])
    assert packages
    assert {*packages, "pyproject.toml", "README.md", "LICENSE", "NOTICE"} <= set(sources)


@pytest.mark.parametrize("stage", ["cpu", "cuda"])
def test_the_images_are_small_and_harmless(stage: str) -> None:
    steps = manifests.docker_stages()[stage]
    for instruction in ("ENTRYPOINT", "CMD"):
        assert isinstance(json.loads(manifests.values(steps, instruction)[-1]), list)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", manifests.values(steps, "USER")[-1]), "it must not run as root"
    assert steps.index(("USER", manifests.values(steps, "USER")[-1])) > max(
        number for number, (instruction, _) in enumerate(steps) if instruction == "RUN"
    )
    assert manifests.values(steps, "HEALTHCHECK")
    assert "org.opencontainers.image.licenses" in " ".join(manifests.values(steps, "LABEL"))
    assert any({"LICENSE", "NOTICE"} <= set(value.split()) for value in manifests.values(steps, "COPY"))
    for command in manifests.values(steps, "RUN"):
        assert not re.search(r"\b(pip|gcc|make|build-essential|-dev)\b", command), "build tools stay in the build stage"
        assert "apt-get install" not in command or "rm -rf /var/lib/apt/lists" in command


def test_the_images_differ_in_nothing_but_what_they_hold() -> None:
    cpu, cuda = ({name: manifests.values(manifests.docker_stages()[stage], name) for name in
                  ("ENV", "USER", "WORKDIR", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD")}
                 for stage in ("cpu", "cuda"))  # fmt: skip
    assert cpu == cuda
    assert ".[cluster]" in " ".join(manifests.values(manifests.docker_stages()["build-cpu"], "RUN"))
    assert ".[cluster,train]" in " ".join(manifests.values(manifests.docker_stages()["build-cuda"], "RUN"))


# --- compose -----------------------------------------------------------------------------------------------------


def test_compose_fits_its_schema() -> None:
    package = metadata.distribution("check-jsonschema")
    path = Path(str(package.locate_file("check_jsonschema/builtin_schemas/vendor/compose-spec.json")))
    schema = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft7Validator(schema).validate(manifests.compose())
    broken = manifests.compose()
    broken["services"]["worker"]["depend_on"] = []
    with pytest.raises(jsonschema.ValidationError, match="depend_on"):
        jsonschema.Draft7Validator(schema).validate(broken)


@pytest.mark.parametrize("name", manifests.compose()["services"])
def test_a_service_of_compose(name: str) -> None:
    whole = manifests.compose()
    service = whole["services"][name]
    if not manifests.of_ours(service):
        assert PINNED.fullmatch(service["image"])
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["restart"] and service["mem_limit"] and service["healthcheck" if "build" not in service else "build"]
    for other, wish in service.get("depends_on", {}).items():
        healthy = "test" in whole["services"][other].get("healthcheck", {})
        assert wish["condition"] == ("service_healthy" if healthy else "service_completed_successfully")
    for volume in service.get("volumes", ()):
        assert isinstance(volume, dict) or volume.split(":")[0] in whole["volumes"]
    assert set(service["networks"]) <= set(whole["networks"])
    for variable, value in service.get("environment", {}).items():
        if re.search(r"PASSWORD|TOKEN|_KEY|ENCRYPTIONKEY", variable):
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{name}: {variable} is written down"


def test_the_engines_of_compose_are_those_that_the_tests_run_against() -> None:
    images = {name: service["image"].split(":")[-1] for name, service in manifests.compose()["services"].items()}
    pom = (DEPLOY / "services" / "kafka-pom.xml").read_text(encoding="utf-8")
    assert f"<version>{images['kafka']}</version>" in pom
    assert images["elasticsearch"] == images["kibana"] and images["elasticsearch"] in ELASTIC_VERSIONS.values()


def test_what_compose_wants_from_a_person_is_in_the_example() -> None:
    wanted = set(re.findall(r"\$\{(\w+):\?", manifests.COMPOSE.read_text(encoding="utf-8")))
    example = manifests.env_file(DEPLOY / "compose.env.example")
    assert wanted == {name for name, value in example.items() if not value}
    assert "deploy/.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "deploy/.env" in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()


# --- Kubernetes --------------------------------------------------------------------------------------------------

OWN_KINDS = ("Kustomization", "ScaledObject", "TriggerAuthentication")
"""Kinds of kustomize and KEDA; no schema of Kubernetes has them."""


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_objects_fit_its_schemas(version: str) -> None:
    objects = [one for one in manifests.kubernetes() if one["kind"] not in OWN_KINDS]
    assert len(objects) > 10
    for one in objects:
        kubernetes_validate.validate(one, version, strict=True)
    broken = next(one for one in objects if one["kind"] == "StatefulSet")
    broken["spec"]["template"]["spec"]["terminationGracePeriod"] = 45
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        kubernetes_validate.validate(broken, version, strict=True)


def test_every_file_is_in_its_kustomization_but_the_secrets() -> None:
    for path in KUBERNETES.glob("*/kustomization.yaml"):
        (kustomization,) = manifests.documents(path)
        named = set(kustomization["resources"])
        here = {one.name for one in path.parent.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
        assert here == named - {"../base"}
        assert kustomization["namespace"] == "weibowatch"
    (base,) = manifests.documents(KUBERNETES / "base" / "kustomization.yaml")
    assert [image["name"] for image in base["images"]] == ["weibowatch"]
    for secret in manifests.of_kind("Secret"):
        assert not any(secret["stringData"].values())


@pytest.mark.parametrize("workload", manifests.workloads(), ids=lambda one: one["metadata"]["name"])
def test_a_workload_of_kubernetes(workload: dict[str, Any]) -> None:
    pod = manifests.pod_of(workload)
    # With service links Kubernetes adds WEIBOWATCH_..., and an unknown setting is an error.
    assert pod["enableServiceLinks"] is False and pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] and "hostNetwork" not in pod
    volumes = {one["name"] for one in pod["volumes"]}
    volumes |= {one["metadata"]["name"] for one in workload["spec"].get("volumeClaimTemplates", ())}
    for container in pod["containers"]:
        assert container["image"] == "weibowatch", "the kustomization names the tag"
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]
        assert not any("hostPort" in port for port in container.get("ports", ()))
        assert {one["name"] for one in container["volumeMounts"]} <= volumes
    if workload["kind"] != "Job":
        assert workload["spec"]["selector"]["matchLabels"] == workload["spec"]["template"]["metadata"]["labels"]
        assert pod["containers"][0]["readinessProbe"] and pod["containers"][0]["livenessProbe"]


def test_workers_are_members_by_their_ordinal_and_drain() -> None:
    (worker,) = [one for one in manifests.workloads() if one["metadata"]["name"] == "worker"]
    pod = manifests.pod_of(worker)
    (slot,) = [one for one in pod["containers"][0]["env"] if one["name"] == "SLOT"]
    assert slot["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['apps.kubernetes.io/pod-index']"
    assert worker["kind"] == "StatefulSet" and pod["terminationGracePeriodSeconds"] == 45
    (ingest,) = [one for one in manifests.workloads() if one["metadata"]["name"] == "ingest"]
    assert ingest["spec"]["replicas"] == 1 and ingest["kind"] == "StatefulSet"


def test_services_budgets_and_policies_select_what_there_is() -> None:
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in manifests.workloads()]
    ports = {port for process in PROCESSES for port, _ in process.probes}
    for one in manifests.of_kind("Service"):
        assert one["spec"]["selector"] in labels
        assert one["spec"].get("type", "ClusterIP") == "ClusterIP", "nothing is open to the outside"
        assert {port["port"] for port in one["spec"]["ports"]} <= ports
    budgets = manifests.of_kind("PodDisruptionBudget")
    assert [one["spec"]["selector"]["matchLabels"] for one in budgets] == [
        label for name in ("serve", "worker") for label in labels if label["app.kubernetes.io/component"] == name
    ]
    closed = [one for one in manifests.of_kind("NetworkPolicy") if one["spec"]["podSelector"] == {}]
    assert [one["spec"].get("ingress", one["spec"].get("egress")) for one in closed] == [None]


def test_autoscaling_follows_the_lag_and_stops_at_the_partitions() -> None:
    (settings,) = [one["data"] for one in manifests.of_kind("ConfigMap") if one["metadata"]["name"] == "settings"]
    partitions = int(settings["WEIBOWATCH_KAFKA__PARTITIONS"])
    assert partitions == PARTITIONS
    (horizontal,) = manifests.of_kind("HorizontalPodAutoscaler")
    (scaled,) = manifests.of_kind("ScaledObject")
    assert horizontal["spec"]["maxReplicas"] == scaled["spec"]["maxReplicaCount"] == partitions
    assert all(one["spec"].get("replicas", 1) <= partitions for one in manifests.workloads())
    assert horizontal["spec"]["scaleTargetRef"] == scaled["spec"]["scaleTargetRef"] == {
        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "worker",
    }  # fmt: skip
    assert horizontal["spec"]["metrics"][0]["external"]["metric"]["name"] in signals.GAUGES
    trigger = scaled["spec"]["triggers"][0]
    names = Names(Settings().kafka.prefix)
    assert (trigger["metadata"]["consumerGroup"], trigger["metadata"]["topic"]) == (names.group, names.posts)
    assert trigger["metadata"]["bootstrapServers"] == settings["WEIBOWATCH_KAFKA__BOOTSTRAP"]
    assert all(isinstance(value, str) for value in trigger["metadata"].values()), "KEDA takes texts only"
    (login,) = manifests.of_kind("TriggerAuthentication")
    assert trigger["authenticationRef"]["name"] == login["metadata"]["name"]
    secrets = {one["metadata"]["name"]: one["stringData"] for one in manifests.of_kind("Secret")}
    for one in login["spec"]["secretTargetRef"]:
        assert one["key"] in secrets[one["name"]]


# --- systemd -----------------------------------------------------------------------------------------------------

HARDENED = {
    "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
    "PrivateDevices": "yes", "CapabilityBoundingSet": "", "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "User": "weibowatch", "StateDirectory": "weibowatch",
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(SYSTEMD.glob("*.service")), ids=lambda path: path.name)
def test_a_unit_is_hardened_and_claims_no_more_than_is_true(path: Path) -> None:
    found = {name: value for _, name, value in manifests.directives(path)}
    assert HARDENED.items() <= found.items()
    assert "WatchdogSec" not in found and found["Type"] in ("exec", "oneshot"), "nothing tells systemd that it is ready"
    assert "EnvironmentFile" in found
    if found["Type"] == "exec":
        assert found["Restart"] == "on-failure" and int(found["TimeoutStopSec"]) == 40


def test_a_worker_that_wants_a_new_start_gets_one() -> None:
    from stream.runtime.faust_app import EXIT_AGAIN

    found = {name: value for _, name, value in manifests.directives(SYSTEMD / "weibowatch-worker@.service")}
    assert found["RestartForceExitStatus"] == str(EXIT_AGAIN)
    assert found["StartLimitIntervalSec"] == "0", "and always, however long Elasticsearch is away"


KNOWN = {
    "Unit": "Description Documentation After Wants PartOf StartLimitIntervalSec StartLimitBurst",
    "Install": "WantedBy",
    "Service": "Type EnvironmentFile Environment ExecStart WorkingDirectory StateDirectory StateDirectoryMode Restart "
    "RestartForceExitStatus RestartPreventExitStatus RestartSec RemainAfterExit TimeoutStartSec TimeoutStopSec "
    "LimitNOFILE MemoryHigh MemoryMax OOMPolicy User Group UMask NoNewPrivileges CapabilityBoundingSet "
    "AmbientCapabilities ProtectSystem ProtectHome PrivateTmp PrivateDevices ProtectProc ProcSubset ProtectClock "
    "ProtectHostname ProtectKernelLogs ProtectKernelModules ProtectKernelTunables ProtectControlGroups "
    "RestrictAddressFamilies RestrictNamespaces RestrictRealtime RestrictSUIDSGID LockPersonality "
    "MemoryDenyWriteExecute RemoveIPC KeyringMode "
    "SystemCallArchitectures SystemCallFilter SystemCallErrorNumber",
}
"""Directives by section, as systemd 252 documents them: for machines without systemd."""


@pytest.mark.parametrize("path", manifests.units(), ids=lambda path: path.name)
def test_directives_are_known_and_in_their_section(path: Path) -> None:
    for section, name, _ in manifests.directives(path):
        assert name in KNOWN[section].split(), f"[{section}] {name}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd to ask")
def test_systemd_understands_every_unit(tmp_path: Path) -> None:
    for path in manifests.units():
        text = path.read_text(encoding="utf-8").replace(manifests.PROGRAM, sys.executable)
        (tmp_path / path.name.replace("@.", "@0.")).write_text(text, encoding="utf-8")
    copies = sorted(str(path) for path in tmp_path.iterdir())
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *copies], capture_output=True, text=True)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "weibowatch" in line]) == (0, [])


def test_parts_of_the_target_stop_with_it() -> None:
    for path in SYSTEMD.glob("weibowatch-*.service"):
        found = manifests.directives(path)
        assert ("Unit", "PartOf", "weibowatch.target") in found
        assert ("Install", "WantedBy", "weibowatch.target") in found
