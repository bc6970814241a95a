"""The import rule of ARCHITECTURE.md, held by reading the code."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("deploy", "index", "ingest", "nlp", "stream")

MAY_IMPORT = {
    "stream.contract": {"stream.contract"},
    "stream.core": {"stream.contract", "stream.core"},
    "stream.bias": {"stream.contract", "stream.core", "stream.bias"},
    "stream.backtest": {"stream.contract", "stream.core", "stream.backtest"},
    "stream.runtime": {"stream.contract", "stream.core", "stream.runtime"},
    "stream.notify": {"stream.contract", "stream.core", "stream.notify"},
    "stream.report": {"stream.report"},
    "stream.experiment": {"stream.contract", "stream.core", "stream.experiment", "stream.report"},
    "ingest": {"stream.contract", "ingest"},
    "nlp": {"stream.contract", "stream.report", "nlp"},
    "index": {"stream.contract", "index"},
    "deploy": {
        "deploy", "index", "ingest", "nlp", "stream.contract", "stream.core", "stream.runtime", "stream.notify",
        "stream.backtest", "stream.bias", "stream.experiment", "stream.report",
    },
}

FENCED = {
    "torch": {
        "nlp/towers/", "nlp/training/", "nlp/export.py", "nlp/batch.py", "nlp/crf_torch.py", "nlp/models/",
        "nlp/backbones.py", "nlp/picture_networks.py", "nlp/feature_cache.py",
        "nlp/serving/torch_tagger.py", "nlp/serving/pictures.py", "nlp/serving/devices.py", "nlp/serving/jpegs.py",
        "nlp/reference.py", "nlp/raw_scores.py", "nlp/rendered/encoder.py",
        "nlp/experiments/gradient_attack.py",
    },
    "transformers": {"nlp/backbones.py"},
    "torchvision": {
        "nlp/backbones.py", "nlp/picture_networks.py", "nlp/serving/jpegs.py",
    },
    "faust": {"stream/runtime/faust_app.py", "stream/runtime/faust_consumer.py"},
    "aiokafka": {"stream/runtime/faust_app.py"},
    "kafka": {"stream/runtime/kafka.py", "stream/runtime/publisher.py"},
    "elasticsearch": {"index/elastic_client.py"},
    "elastic_transport": {"index/elastic_client.py"},
    "onnxruntime": {"nlp/runtime_onnx.py"},
    "sqlite3": {"stream/runtime/sqlite", "index/", "deploy/commands/admin.py", "ingest/weibo/memory.py"},
    "opencc": {"deploy/wiring.py"},
    "pypinyin": {"nlp/experiments/pinyin.py"},
    "pyarrow": {"deploy/transfer/files.py"},
    "yaml": {"deploy/"},
    "selectolax": {"ingest/weibo/search_page.py"},
    "aiohttp": {
        "index/", "stream/notify/http.py",
        "ingest/http.py", "ingest/picture_fetch.py", "ingest/picture_http.py", "ingest/weibo/client.py",
        "ingest/weibo_fake/server.py", "deploy/web.py", "deploy/probes.py",
    },
    "apprise": {"stream/notify/apprise_channel.py"},
    "smtplib": {"stream/notify/email.py"},
    "defusedxml": {"ingest/feed.py"},
    "PIL": {
        "ingest/images.py", "ingest/weibo_fake/server.py", "nlp/pictures.py", "nlp/rendered/", "nlp/serving/jpegs.py",
        "nlp/experiments/picture_attacks.py",
    },
}

PURE_CORE = {"asyncio", "datetime", "logging", "os", "pathlib", "random", "socket", "sqlite3", "structlog", "time"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(name: str) -> str:
    """``stream.core.trends`` → ``stream.core``; ``nlp.crf`` → ``nlp``."""
    pieces = name.split(".")
    return ".".join(pieces[:2]) if pieces[0] == "stream" and len(pieces) > 1 else pieces[0]


def test_packages_import_only_what_they_may() -> None:
    broken = []
    for path, tree in modules():
        part = part_of(path.removesuffix(".py").replace("/", "."))
        for name in imports(tree):
            target = part_of(name)
            if target.split(".")[0] in PACKAGES and target != "stream" and target not in MAY_IMPORT.get(part, {target}):
                broken.append(f"{path} imports {name}")
    assert not broken


def test_foreign_libraries_stay_behind_their_fences() -> None:
    broken = []
    for path, tree in modules():
        for name in imports(tree):
            homes = FENCED.get(name.split(".")[0])
            if homes is not None and not any(path.startswith(home) for home in homes):
                broken.append(f"{path} imports {name}")
    assert not broken


def test_the_core_is_pure() -> None:
    broken = [
        f"{path} imports {name}"
        for path, tree in modules()
        if path.startswith("stream/core/")
        for name in imports(tree)
        if name.split(".")[0] in PURE_CORE
    ]
    assert not broken


def test_only_settings_read_the_environment() -> None:
    readers = [
        path
        for path, tree in modules()
        if any(isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") for node in ast.walk(tree))
    ]
    # accounts.py is a script of its own that compose runs; nothing imports it.
    assert readers == ["deploy/docker/accounts.py", "deploy/settings.py"]


@pytest.mark.parametrize("package", PACKAGES)
def test_generic_names_resolve_inside_this_repository(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).is_relative_to(ROOT), f"{package} comes from {spec.origin}; another distribution hides it"


def test_the_default_install_needs_no_torch() -> None:
    """Nothing that the command line imports at the start pulls in the heavy extras."""
    heavy = (
        "torch", "transformers", "faust", "kafka", "elasticsearch", "scipy", "onnxruntime", "aiohttp", "pyarrow",
        "apprise", "numpy", "PIL",
    )  # fmt: skip
    code = f"import deploy.cli, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
