"""A tagger over a trained torch model: prepare (tokens, decoded pictures), infer (device), decode (CRF).

Posts are read in batches of like length. A post with pictures is tagged a second time without them: what only the
first time gives has the provenance ``image``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlp.artifact import ArtifactError
from nlp.backbones import BackboneError, PictureEncoder
from nlp.batch import Batch
from nlp.labels import Chunk
from nlp.models.families import encoder_of
from nlp.serving.devices import Device, device_for
from nlp.serving.memory import Fitting
from nlp.serving.pictures import Loaded, PictureRegions
from nlp.serving.provenance import marked, picture_of
from nlp.serving.settings import Count, TaggerSettings
from nlp.training import trained as folders
from nlp.training.coder import Coded, Window, windows
from nlp.training.config import BatchSettings
from nlp.training.decode import Post as Tagged
from nlp.training.rows import Row, collate
from nlp.training.trained import Trained
from stream.contract.ports import TagInput
from stream.contract.records import Span

Floats = NDArray[np.float32]

TOKENS_CPU: Final = 4_096
TOKENS_CUDA: Final = 32_768
PADDED: Final = 1.25
"""How much longer than its shortest the longest row of a batch may be, so that little is spent on padding."""


@dataclass(frozen=True)
class Seen:
    """A post as the model reads it: tokens in windows, and the digests and ids of the pictures that it sees."""

    coded: Coded
    windows: tuple[Window, ...]
    digests: tuple[str, ...]
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Prepared:
    """Posts, and their pictures decoded."""

    seen: list[Seen]
    loaded: Loaded


@dataclass(frozen=True)
class Inferred:
    """Emissions (S, K) of each post; of those with pictures also without them, by number.

    ``givers`` are the ids of the pictures that entities of posts with several are owed to, by number.
    """

    full: list[Floats]
    bare: dict[int, Floats]
    givers: dict[int, dict[Chunk, str]]


@dataclass(frozen=True)
class Item:
    """One window of one reading of a post: with the pictures ``digests``."""

    coded: Coded
    digests: tuple[str, ...]


Job = tuple[int, tuple[str, ...]]
"""A post's number, and the digests of the pictures that it is read with."""


class TorchTagger:
    """``trained`` on its device. Each step may run in a thread of its own."""

    def __init__(self, trained: Trained, device: Device, settings: TaggerSettings, count: Count) -> None:
        self.model_version = trained.model_version
        self.names = trained.names
        self._trained = trained
        self._device = device
        self._settings = settings
        self._decoder = trained.decoder()
        self._reading = _reading_of(trained)
        self._pictures = _picture_regions(trained, device, settings, count)
        self._scores = device.compiled(trained.model.scores)
        self.budget = settings.batch_tokens_max or (TOKENS_CUDA if device.is_cuda else TOKENS_CPU)
        self._count = count
        # Where it is not, a post's scores depend on how far its batch is padded.
        self._padding_is_masked: bool = getattr(trained.model.settings, "mask_pad", True)

    # --- prepare -----------------------------------------------------------------------------------------------

    def prepare(self, posts: Sequence[TagInput]) -> Prepared:
        """Tokens of each text; each picture of the batch decoded once. Those that cannot be read are counted."""
        loaded = Loaded()
        return Prepared([self._seen(post, loaded) for post in posts], loaded)

    def _seen(self, post: TagInput, loaded: Loaded) -> Seen:
        coded = self._trained.coder.code(post.text)
        if not (coded.starts >= 0).any():
            return Seen(coded, (), (), ())
        held = tuple(windows(coded, self._trained.coder.tokens_max, self._reading.overlap))
        digests, ids = self._chosen(post, loaded)
        return Seen(coded, held, digests, ids)

    def _chosen(self, post: TagInput, loaded: Loaded) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(digests, ids) of the pictures that the model's policy takes of a post."""
        given = self._trained.pictures
        if self._pictures is None or given is None or given.policy == "none":
            return (), ()
        if given.policy == "constant":
            return (self._pictures.grey(loaded),), ()
        wanted = 1 if given.policy == "first" else given.pictures_max
        found: dict[str, str] = {}
        for picture in post.pictures:
            if len(found) < wanted and (digest := self._pictures.load(picture, loaded)) is not None:
                found.setdefault(digest, picture.id)
        return tuple(found), tuple(found.values())

    # --- infer -------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def infer(self, prepared: Prepared) -> Inferred:
        """Emissions; posts that show pictures are read without them as well, where the settings say so."""
        regions = self._pictures.regions(prepared.loaded) if self._pictures else {}
        jobs = [(number, seen.digests) for number, seen in enumerate(prepared.seen)]
        wanted = self._settings.image_provenance
        shown = [number for number, seen in enumerate(prepared.seen) if seen.ids and wanted]
        found = self._read(prepared, [*jobs, *((number, ()) for number in shown)], regions)
        full, bare = found[: len(jobs)], dict(zip(shown, found[len(jobs) :], strict=True))
        return Inferred(full, bare, self._givers(prepared, full, bare, regions))

    def _givers(
        self, prepared: Prepared, full: list[Floats], bare: dict[int, Floats], regions: dict[str, Tensor]
    ) -> dict[int, dict[Chunk, str]]:
        """Which picture of a post with several gave each entity away that is found with pictures only."""
        several = [number for number in bare if len(prepared.seen[number].ids) > 1]
        with_, without = (
            self._decoder.chunks([Tagged(prepared.seen[number].coded, emissions[number]) for number in several])
            for emissions in (full, bare)
        )
        owed = {
            number: given
            for number, mine, others in zip(several, with_, without, strict=True)
            if (given := [chunk for chunk in mine if chunk not in others])
        }
        jobs = [job for number in owed for job in _ablations(number, prepared.seen[number].digests)]
        once = list(dict.fromkeys(jobs))  # of two pictures, less the one is the other alone
        read = dict(zip(once, self._read(prepared, once, regions), strict=True))
        tagged = [Tagged(prepared.seen[job[0]].coded, read[job]) for job in jobs]
        chunks = iter(self._decoder.chunks(tagged))
        givers: dict[int, dict[Chunk, str]] = {}
        for number, given in owed.items():
            ids = prepared.seen[number].ids
            less, alone = ([set(next(chunks)) for _ in ids] for _ in range(2))
            givers[number] = {chunk: ids[picture_of(chunk, less, alone)] for chunk in given}
        return givers

    def _read(self, prepared: Prepared, jobs: Sequence[Job], regions: dict[str, Tensor]) -> list[Floats]:
        """Emissions (S, K) of each job, its windows joined."""
        labels = len(self._trained.labels)
        found = [np.zeros((len(prepared.seen[number].coded), labels), dtype=np.float32) for number, _ in jobs]
        places = [(row, window) for row, (number, _) in enumerate(jobs) for window in prepared.seen[number].windows]
        items = [Item(prepared.seen[jobs[row][0]].coded.part(window.places), jobs[row][1]) for row, window in places]
        scoring: Fitting[int, Floats] = Fitting(
            lambda part: self._emissions([items[number] for number in part], regions),
            lambda part: _size([items[number] for number in part], regions),
            self.budget,
            self._count,
            self._device.relieve,
        )
        for group in _alike(items, self.budget // 4 if self._padding_is_masked else 0):
            for number, emissions in zip(group, scoring(group), strict=True):
                row, window = places[number]
                own = window.places[window.left : window.right]
                found[row][own] = emissions[window.left : window.right]
        self.budget = min(self.budget, scoring.size_max)
        return found

    def _emissions(self, items: Sequence[Item], regions: dict[str, Tensor]) -> list[Floats]:
        batch = collate([Row(item.coded) for item in items], length_min=self._reading.pad_to)
        batch = self._device.bring(batch)
        if items[0].digests:
            batch = self._with_regions(batch, items, regions)
        with self._device.precision():
            emissions = self._scores(batch).emissions
        rows = emissions.float().cpu().numpy()
        found = [rows[number, : len(item.coded)] for number, item in enumerate(items)]
        if not all(np.isfinite(row).all() for row in found):
            raise FloatingPointError("the model gives emissions that are no numbers")
        return found

    def _with_regions(self, batch: Batch, items: Sequence[Item], regions: dict[str, Tensor]) -> Batch:
        """``batch`` with the regions of each row's pictures, zeros where a row has no further one."""
        rows = [[regions[digest] for digest in item.digests] for item in items]
        if self._trained.pictures is not None and self._trained.pictures.policy == "mean_features":
            rows = [[torch.stack(row).mean(dim=0)] for row in rows]
        most = max(map(len, rows))
        nothing = torch.zeros_like(rows[0][0])
        held = torch.stack([torch.stack([*row, *[nothing] * (most - len(row))]) for row in rows])
        mask = torch.tensor([[place < len(row) for place in range(most)] for row in rows], device=held.device)
        return replace(batch, regions=held, picture_mask=mask)

    # --- decode ------------------------------------------------------------------------------------------------

    def decode(self, prepared: Prepared, scores: Inferred) -> list[list[Span]]:
        """Spans per post; those that only a picture gave away say so, and which."""
        tagged = [Tagged(seen.coded, emissions) for seen, emissions in zip(prepared.seen, scores.full, strict=True)]
        found = self._decoder.spans(tagged)
        numbers = list(scores.bare)
        bare = self._decoder.chunks([Tagged(prepared.seen[number].coded, scores.bare[number]) for number in numbers])
        for number, without in zip(numbers, bare, strict=True):
            only = prepared.seen[number].ids[0]
            givers = scores.givers.get(number, {})
            found[number] = marked(found[number], without, lambda chunk: givers.get(chunk, only))  # noqa: B023
        return found


def _ablations(number: int, digests: tuple[str, ...]) -> Iterator[Job]:
    """A post read without each of its pictures, then with each alone."""
    for place in range(len(digests)):
        yield number, digests[:place] + digests[place + 1 :]
    for digest in digests:
        yield number, (digest,)


def _size(items: Sequence[Item], regions: dict[str, Tensor]) -> int:
    """Tokens of a batch of ``items``, padding and the regions of their pictures included."""
    pictures = max(len(item.digests) for item in items)
    each = len(regions[next(item.digests for item in items if item.digests)[0]]) if pictures else 0
    return len(items) * (max(len(item.coded) for item in items) + pictures * each)


def _alike(items: Sequence[Item], tokens_min: int) -> Iterator[list[int]]:
    """Numbers of ``items`` by length, those with pictures apart from those without.

    Once a group has ``tokens_min`` tokens, padding included, it takes none that is much longer than its first; where
    that is 0, only those as long.
    """
    order = sorted(range(len(items)), key=lambda number: (bool(items[number].digests), len(items[number].coded)))
    group: list[int] = []
    for number in order:
        item, first = items[number], items[group[0] if group else number]
        size = len(item.coded)
        much_longer = len(group) * size >= tokens_min and size > (PADDED if tokens_min else 1) * len(first.coded)
        if group and (much_longer or bool(item.digests) != bool(first.digests)):
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def _reading_of(trained: Trained) -> BatchSettings:
    """How long texts are cut and short ones padded, as in training."""
    given: dict[str, Any] = trained.card.settings.get("batches", {})
    return BatchSettings(overlap=given.get("overlap", BatchSettings().overlap), pad_to=given.get("pad_to", 1))


def _picture_regions(
    trained: Trained, device: Device, settings: TaggerSettings, count: Count
) -> PictureRegions | None:
    """What makes regions for ``trained``, None where it sees no pictures. Raises ``ArtifactError``."""
    if trained.pictures is None:
        return None
    encoder = encoder_of(trained.model, PictureEncoder)
    if encoder is None:
        raise ArtifactError(f"{trained.model_version} reads regions of pictures and has no backbone that makes them")
    return PictureRegions(
        encoder,
        trained.pictures.preprocess,
        device,
        pictures_max=settings.batch_pictures_max,
        cache_bytes_max=settings.cache_mb << 20,
        count=count,
    )


def load(folder: Path, settings: TaggerSettings, count: Count) -> TorchTagger:
    """The tagger in a model folder. Raises ``ArtifactError``."""
    device = device_for(settings)
    try:
        trained = folders.load(folder, str(device.torch))
    except BackboneError as error:
        raise ArtifactError(f"{folder}: {error}") from error
    return TorchTagger(trained, device, settings, count)
