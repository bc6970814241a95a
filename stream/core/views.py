"""Views: of an entity's sightings those that a rule is about, counted besides all of them.

A view is counted, remembered and tested like an entity, under a key of its own, from when a rule asks for it. So
everything that is known of entities (distinct authors, baselines, origin, evidence) is known of a view, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec

from stream.contract.records import Sighting
from stream.core.dedupe import remembered64
from stream.core.rules import Match, Rule, RuleSet
from stream.core.settings import CoreSettings
from stream.core.volume import Frame, WindowFrame

_VIEW: Final = "\x00view/"


class View(msgspec.Struct, frozen=True):
    """What ``rules`` want of the entities that they match. ``together``: hashes of entities, one of which is in the
    same post."""

    id: str
    rules: tuple[Rule, ...]
    source: tuple[str, ...]
    picture_only: bool
    alias: frozenset[str]
    together: frozenset[int]

    def shows(self, sighting: Sighting) -> bool:
        """Whether ``sighting`` belongs to the view of its entity."""
        return (
            (not self.picture_only or sighting.image_only)
            and (not self.alias or sighting.surface.casefold() in self.alias)
            and (not self.source or any(of_source(sighting.source, one) for one in self.source))
            and (not self.together or self._together(sighting))
            and any(rule.matches(sighting.entity) for rule in self.rules)
        )

    def _together(self, sighting: Sighting) -> bool:
        own = remembered64(sighting.entity)
        return any(one in self.together and one != own for one in sighting.together)


def of_source(source: str, wanted: str) -> bool:
    """Whether ``source`` is ``wanted`` or one of its kind: ``weibo:user:1`` is a ``weibo`` and a ``weibo:user``."""
    return source == wanted or source.startswith(wanted + ":")


@lru_cache(maxsize=1024)
def view_id(match: Match) -> str:
    """The id of the view that a rule with this ``match`` looks at, empty where it looks at all sightings."""
    if not (match.source or match.picture_only or match.alias or match.together):
        return ""
    wanted = [sorted(match.source), match.picture_only, sorted(match.alias), sorted(match.together)]
    return blake2b(msgspec.json.encode(wanted), digest_size=6).hexdigest()


def views_of(rules: RuleSet) -> tuple[View, ...]:
    """The views that ``rules`` ask for, by id; rules that look at the same share one."""
    found: dict[str, list[Rule]] = {}
    for rule in rules.rules:
        if name := view_id(rule.match):
            found.setdefault(name, []).append(rule)
    return tuple(
        View(
            name, tuple(found[name]), found[name][0].match.source, found[name][0].match.picture_only,
            frozenset(one.casefold() for one in found[name][0].match.alias),
            frozenset(remembered64(one) for one in found[name][0].match.together),
        )
        for name in sorted(found)
    )  # fmt: skip


def view_key(view: str, entity: str) -> str:
    """Under which ``entity`` is kept as ``view`` shows it."""
    return f"{_VIEW}{view}/{entity}" if view else entity


def split_key(key: str) -> tuple[str, str]:
    """(view, entity) behind a key of ``view_key``."""
    if not key.startswith(_VIEW):
        return "", key
    view, _, entity = key.removeprefix(_VIEW).partition("/")
    return view, entity


def since(views: Iterable[View], before: Mapping[str, int], now_ms: int) -> dict[str, int]:
    """From when each of ``views`` is counted: as ``before``, or from ``now_ms``."""
    return {view.id: before.get(view.id, now_ms) for view in views}


def frame_since(frame: Frame, since_ms: int, settings: CoreSettings) -> Frame:
    """``frame`` for what is counted from ``since_ms`` only: its past is no longer than that."""
    windows = tuple(_window_since(one, frame, since_ms, settings) for one in frame.windows)
    return frame._replace(windows=windows, since_ms=max(frame.since_ms, since_ms))


def _window_since(one: WindowFrame, frame: Frame, since_ms: int, settings: CoreSettings) -> WindowFrame:
    count = max(one.tumbling - since_ms // one.window_ms, 0)
    ended = (1.0 - one.decay**count) / (1.0 - one.decay)
    ready = one.ready and frame.end_ms > since_ms + max(settings.warmup_s * 1000, 2 * one.window_ms)
    return one._replace(ended=min(one.ended, ended), ready=ready)
