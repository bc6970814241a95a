"""The taggers that the log asks for, loaded in a thread of their own while others work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import structlog

from stream.contract.ports import Metrics, ModelError, Tagger
from stream.contract.records import Envelope
from stream.core import models
from stream.core.models import Model
from stream.runtime.wire import refused

_log = structlog.get_logger(__name__)
LOADING_MAX: Final = 2
"""Models that are loaded ahead of their orders; of more, the newest."""


def no_other_model(model: Model) -> Tagger:
    """``load`` of a run that has one tagger only."""
    raise ModelError(f"this run has one model only, not {model.version} in {model.folder}")


class Piece(NamedTuple):
    """Records whose posts one tagger is to see."""

    envelopes: Sequence[Envelope]
    tagger: Tagger


class Models:
    """Taggers by model. Used on the event loop only.

    ``load`` blocks and raises ``ModelError``; ``held`` are those that are loaded already.
    """

    def __init__(self, load: Callable[[Model], Tagger], metrics: Metrics, held: Mapping[Model, Tagger]) -> None:
        self._load = load
        self._metrics = metrics
        self._held = dict(held)
        self._loading: dict[Model, asyncio.Future[Tagger]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    def begin(self, model: Model) -> asyncio.Future[Tagger]:
        """Load ``model`` unless it is there or on its way. The future may end with an error."""
        if model in self._held:
            done = asyncio.get_running_loop().create_future()
            done.set_result(self._held[model])
            return done
        if model not in self._loading:
            if len(self._loading) >= LOADING_MAX:
                dropped = next(iter(self._loading))
                del self._loading[dropped]
                _log.warning("model_dropped", folder=dropped.folder, version=dropped.version, loading_max=LOADING_MAX)
            _log.info("model_loading", folder=model.folder, version=model.version)
            loading = asyncio.get_running_loop().run_in_executor(self._thread, self._load, model)
            loading.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may ask for it
            self._loading[model] = loading
        return self._loading[model]

    async def tagger(self, model: Model) -> Tagger:
        """The tagger of ``model``, loaded if need be. Raises ``ModelError``; it is tried again the next time."""
        loading = self.begin(model)
        try:
            tagger = await asyncio.shield(loading)  # others may wait for it, too
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._metrics.count("weibowatch_tagger_problems_total", problem="model_refused")
            _log.error("model_refused", folder=model.folder, version=model.version, error=str(error))
            raise ModelError(f"{model.version or 'the model'} cannot be loaded: {error}") from error
        finally:
            if loading.done():
                self._loading.pop(model, None)
        self._held[model] = tagger
        return tagger

    def keep(self, used: Collection[Model]) -> None:
        """Let all others go; those that are being loaded stay."""
        self._held = {model: tagger for model, tagger in self._held.items() if model in used}

    async def pieces(self, envelopes: Sequence[Envelope], model: Model) -> tuple[list[Piece], Model]:
        """``envelopes`` cut behind every order of a model, and the model in force behind them; before it is ``model``.

        An order that cannot be followed becomes a Reject, and the model before it stays.
        """
        kept = [await self._followed(envelope) for envelope in envelopes]
        found = [Piece(part, await self.tagger(wanted)) for part, wanted in models.pieces(kept, model)]
        after = models.in_force_after(kept, model)
        self.keep({after})
        return found, after

    async def _followed(self, envelope: Envelope) -> Envelope:
        wanted = models.ordered(envelope.record)
        if wanted is None:
            return envelope
        try:
            tagger = await self.tagger(wanted)
        except ModelError as error:
            return refused(envelope, error)
        _log.info("model_in_force", model=tagger.model_version, offset=envelope.position.offset)
        return envelope

    def close(self) -> None:
        """Wait for what is being loaded, and end the thread. Blocking."""
        self._thread.shutdown()
