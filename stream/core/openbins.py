"""Sightings of one entity that are counted into a bin which is still open; their order does not matter."""

from __future__ import annotations

from collections.abc import Iterable

from stream.contract.records import Sighting
from stream.core import sample
from stream.core.dedupe import remembered64
from stream.core.rows import Clue, OpenBin
from stream.core.settings import CoreSettings


def copied(bin_: OpenBin) -> OpenBin:
    """A bin that may be added to."""
    return OpenBin(
        bin_.mentions, bin_.weight, bin_.engagement, bin_.image_only, bin_.reposts, bin_.unknown, bin_.first_ms,
        dict(bin_.authors), bin_.clues, dict(bin_.texts), dict(bin_.roots), dict(bin_.sources), list(bin_.posts),
        bin_.confidence,
    )  # fmt: skip


def observe(bin_: OpenBin, sighting: Sighting, settings: CoreSettings, *, sources: bool = False) -> None:
    """Count ``sighting`` into ``bin_``, which is changed, with its source where asked for.

    The order of sightings does not matter.
    """
    if not bin_.mentions or sighting.created_ms < bin_.first_ms:
        bin_.first_ms = sighting.created_ms
    bin_.mentions += 1
    bin_.weight += sighting.weight
    bin_.engagement += sighting.engagement
    bin_.image_only += sighting.image_only
    bin_.reposts += sighting.via_repost
    bin_.unknown += not sighting.author_known
    bin_.confidence += round(1000 * sighting.confidence)
    author = remembered64(sighting.author)
    bin_.authors[author] = bin_.authors.get(author, 0) + 1
    if sources:
        source = remembered64(sighting.source)
        bin_.sources[source] = bin_.sources.get(source, 0) + 1
    if sighting.via_repost:
        root = remembered64(sighting.root_id)
        bin_.roots[root] = bin_.roots.get(root, 0) + 1
    elif sighting.simhash:
        bin_.texts[sighting.simhash] = bin_.texts.get(sighting.simhash, 0) + 1
    sample.add(bin_.posts, remembered64(sighting.post_id))
    clues, count_max = bin_.clues, settings.evidence_per_bin_max
    if len(clues) < count_max or (-sighting.weight, sighting.post_id) < _rank(clues[-1]):
        one = _clue(sighting)  # a new list: that of a row which is stored is shared
        bin_.clues = best_clues([*clues, one], count_max) if clues else [one]


def best_clues(clues: Iterable[Clue], count_max: int) -> list[Clue]:
    """The best by (−weight, post id)."""
    return sorted(clues, key=_rank)[:count_max]


def _rank(clue: Clue) -> tuple[int, str]:
    return (-clue.weight, clue.post_id)


def _clue(sighting: Sighting) -> Clue:
    return Clue(
        sighting.weight, sighting.post_id, sighting.author, sighting.created_ms, sighting.source, sighting.surface,
        sighting.excerpt, sighting.via_repost, sighting.image_only, sighting.simhash,
    )  # fmt: skip
