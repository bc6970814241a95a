"""The composition root: where the parts are made and put together."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog

from deploy.errors import Failure, UsageFailure
from deploy.settings import KEY_BYTES_MIN, Settings
from stream.contract.ports import Change, Metrics, ModelError, Source, SourceError
from stream.contract.records import Control
from stream.contract.signals import TaggerProblem

if TYPE_CHECKING:
    from nlp.evaluate import NamedTagger
    from stream.core.models import Model

_log = structlog.get_logger(__name__)

AUTHOR_KEY_FILE = "author.key"
HERE = Path(__file__).parent
DEMO_RULES = HERE / "demo_rules.yaml"
DEFAULT_RULES = HERE / "default_rules.yaml"


def now_ms() -> int:
    """The wall clock in Unix milliseconds; the one place where the embedded mode reads it."""
    return time.time_ns() // 1_000_000


def load_tagger(settings: Settings, model: Path | None = None, metrics: Metrics | None = None) -> NamedTagger:
    """The tagger named on the command line, else in the settings, else the one that ships. Raises ``ModelError``.

    Where the settings name an English model, it tags the English posts.
    """
    from nlp import artifact
    from nlp.serving import loading

    count = _counting(metrics)
    chosen = model or (Path(settings.tagger.model) if settings.tagger.model else None)
    try:
        return loading.with_english(loading.load(chosen, settings.tagger, count), settings.tagger, count)
    except artifact.ArtifactError as error:
        raise ModelError(str(error)) from error


class ModelLoader:
    """Loads the models that the log orders; ``chosen`` on the command line is taken instead of any of them."""

    def __init__(self, settings: Settings, chosen: Path | None, metrics: Metrics) -> None:
        self._settings = settings
        self._chosen = chosen
        self._metrics = metrics
        self._held: NamedTagger | None = None

    def __call__(self, model: Model) -> NamedTagger:
        """The tagger of ``model``. Blocking. Raises ``ModelError``, also for a folder that holds another model."""
        if self._chosen is not None:
            self._held = self._held or load_tagger(self._settings, self._chosen, self._metrics)
            if model.folder:
                _log.warning("order_not_followed", ordered=model.version, used=self._held.model_version)
            return self._held
        if not model.folder:
            return load_tagger(self._settings, None, self._metrics)
        tagger = load_tagger(self._settings, Path(model.folder), self._metrics)
        if tagger.model_version.partition("+")[0] != model.version:
            raise ModelError(f"{model.folder} holds {tagger.model_version}, the order wants {model.version}")
        return tagger

    def in_force(self, model: Model) -> NamedTagger:
        """The tagger of the model in force when a run starts. Raises ``ModelError``."""
        try:
            return self(model)
        except ModelError as error:
            if not model.folder:
                raise
            raise ModelError(
                f"{model.version} was put in force by `weibowatch model use` and cannot be loaded: {error}. "
                "Put it back, or start with another one: --model FOLDER"
            ) from error


def _counting(metrics: Metrics | None) -> Callable[[TaggerProblem], None]:
    def count(problem: TaggerProblem) -> None:
        if metrics is not None:
            metrics.count("weibowatch_tagger_problems_total", problem=problem)

    return count


def traditional_to_simplified() -> Callable[[str], str]:
    """OpenCC's conversion, made once."""
    return _converter("t2s")


def simplified_to_traditional() -> Callable[[str], str]:
    """OpenCC's conversion the other way, made once."""
    return _converter("s2t")


def _converter(name: str) -> Callable[[str], str]:
    import opencc

    converter: Callable[[str], str] = opencc.OpenCC(name).convert
    return converter


def author_key(settings: Settings, directory: Path) -> bytes:
    """The secret that turns author ids into pseudonyms: from the settings, else one made once per store."""
    if settings.privacy.author_key:
        return settings.privacy.author_key.encode()
    path = directory / AUTHOR_KEY_FILE
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        part.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            raise Failure(f"no room for {path}: {error.strerror}. Free some space and try again.") from error
    key = path.read_bytes().strip()
    if len(key) < KEY_BYTES_MIN:
        raise Failure(
            f"{path} holds no key. Put it back from a backup; or delete it, and authors get new pseudonyms from now on"
        )
    return key


def check_sources(specs: Sequence[str]) -> None:
    """Raise ``UsageFailure`` for a spec of no known kind or given twice, before anything is made on the disk."""
    from ingest.sources import parts_of

    if twice := [spec for spec, count in Counter(specs).items() if count > 1]:
        raise UsageFailure(f"--source {twice[0]} is given twice")
    try:
        for spec in specs:
            parts_of(spec)
    except SourceError as error:
        raise UsageFailure(str(error)) from error


class Opened(NamedTuple):
    """Sources of a run, and what tells of those that come and go meanwhile (None: nothing does)."""

    sources: tuple[Source, ...]
    changes: AsyncIterator[Change] | None


@contextlib.asynccontextmanager
async def opened_sources(
    specs: Sequence[str], settings: Settings, directory: Path, speed: float | None, *, once: bool
) -> AsyncIterator[Opened]:
    """The sources behind ``specs``. ``once``: those that are endless end when they have seen what there is.

    Raises ``SourceError`` for what the user must mend.
    """
    from ingest.clean import Edge
    from ingest.picture_fetch import PictureFetcher
    from ingest.pictures import drawer
    from ingest.privacy import hmac_pseudonym
    from ingest.sources import open_source
    from ingest.weibo.open import Weibo
    from ingest.weibo.spec import PREFIX

    pseudonym = hmac_pseudonym(author_key(settings, directory))
    of_weibo = [spec for spec in specs if spec.startswith(PREFIX)]
    others = tuple(
        open_source(spec, edge=settings.edge, pseudonym=pseudonym, now_ms=now_ms, speed=speed, once=once)
        for spec in specs
        if not spec.startswith(PREFIX)
    )
    if not of_weibo:
        yield Opened(others, None)
        return

    draw = drawer(settings.edge, None)

    def edge_at(name: str, as_of_ms: int) -> Edge:
        return Edge(source=name, settings=settings.edge, pseudonym=pseudonym, draw=draw, as_of_ms=as_of_ms)

    async with contextlib.AsyncExitStack() as stack:
        pictures = None
        if settings.weibo.pictures:
            fetcher = await stack.enter_async_context(PictureFetcher(settings.pictures, settings.edge))
            pictures = fetcher.fetch
        weibo = Weibo(
            of_weibo, settings.weibo, directory, edge_at=edge_at, now_ms=now_ms, pictures=pictures, once=once
        )
        await stack.enter_async_context(weibo)
        changes = weibo.changes() if weibo.has_lists and not once else None
        yield Opened((*others, *weibo.sources), changes)


def checked_rules(path: Path, channels: Collection[str] | None) -> tuple[str, list[str]]:
    """(payload, errors) of a rules file, whose receivers must be among ``channels`` where these are known."""
    from deploy import rulefile, rulenotice

    payload, errors = rulefile.load(path, traditional_to_simplified())
    if not errors and channels is not None:
        errors = [f"{path}: {problem}" for problem in rulenotice.strangers(payload, channels)]
    return payload if not errors else "", errors


def channel_names(settings: Settings) -> tuple[str, ...]:
    """The channels of ``settings``, by the names that rules have for them."""
    short = (f"file:{settings.notify.file}",) if settings.notify.file else ()
    return (*short, *settings.notify.channels)


def rules_control(
    path: Path, in_force: tuple[str, int], channels: Collection[str] | None = None
) -> Control | None:
    """The Control record that puts the rules of ``path`` in force, None when they are: (payload, version) of those.

    ``channels``: names of all that alerts can go to, None where nobody knows. Raises ``Failure`` with every error of
    the file, each with its line and field.
    """
    payload, errors = checked_rules(path, channels)
    if errors:
        raise Failure(f"{path} has errors:\n  " + "\n  ".join(errors))
    if payload == in_force[0]:
        return None
    return Control(topic="rules", version=in_force[1] + 1, payload=payload)
