"""All that is known of one incident, made from records: its alerts, what they were tested against, their posts. Pure.

Numbers are those of the alerts, frozen when these were told, but for ``posts_found``: that is counted over the posts
of the window that are still stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode

import msgspec

from index.course import CourseReader, course, rows, tested
from index.present import alert, iso, post_url, window_row
from index.query import moment
from stream.contract.records import IMAGE, RESOLVED, Document, Evidence, Flip, WindowScore

POSTS_MAX: Final = 500
"""Posts of the window that are counted over, the earliest ones."""
EXCERPT_CHARS: Final = 80
ELSEWHERE: Final = {"STREAM": {"coverage": "/coverage"}, "MODEL": {"drift": "/drift"}}
"""Where to look for what is about no entity, by the type of the subject."""


class IncidentReader(CourseReader, Protocol):
    """The part of a reader that this needs."""

    def flips_of(self, name: str) -> list[Flip]:
        """The alerts of an incident."""

    def frozen(self, incident_id: str) -> dict[str, list[str]]:
        """Post → digests of its frozen pictures."""

    def made_ms(self, incident_id: str) -> dict[str, int]:
        """Alert → when it was stored, by the clock."""

    def first_documents(self, entity: str, since_ms: int, until_ms: int, count_max: int) -> list[Document]:
        """The earliest posts that name an entity."""


def incident(reader: IncidentReader, name: str) -> dict[str, Any] | None:
    """The incident ``name``, or that of the alert ``name``; None where there is none."""
    flips = reader.flips_of(name)
    if not flips:
        return None
    last, window = flips[-1], tested(flips)
    loudest = next((flip for flip in flips if flip.window is window), last)
    end_ms = loudest.at_ms
    start_ms = end_ms - window.window_ms if window else flips[0].first_ms
    documents = reader.first_documents(last.entity, start_ms, end_ms, POSTS_MAX)
    told, made = alert(last), reader.made_ms(last.incident_id)
    shared = ("incident_id", "rule_id", "rule_kind", "rule_version", "severity", "entity", "name", "type", "labels")
    return {
        **{key: told[key] for key in shared},
        "surface": flips[0].surface,
        "state": last.state,
        "first_at": iso(flips[0].first_ms),
        "told_at": iso(flips[0].at_ms),
        "resolved_at": iso(last.at_ms) if last.state == RESOLVED else None,
        "first_seen": alert(flips[0])["first_seen"],
        "event": last.event,
        "members": list(next((flip.members for flip in reversed(flips) if flip.members), ())),
        "authors_known": all(flip.authors_known for flip in flips),
        "window": None if window is None else _window(window, start_ms, end_ms),
        "covered": loudest.covered / 1000,
        "first_post": _first_post(last.entity, documents),
        "posts_found": _found(last.entity, documents),
        "posts": _posts(flips, reader.frozen(last.incident_id), documents),
        "posts_removed": _removed(flips),
        "alerts": [alert(flip, last.state, made.get(flip.id)) for flip in flips],
        "timeline": rows(course(reader, flips)),
        "links": _links(last, start_ms, end_ms),
    }


def with_deliveries(
    found: dict[str, Any], told: Mapping[str, Sequence[dict[str, Any]]], problem: str = ""
) -> dict[str, Any]:
    """``found``, an incident, with ``deliveries`` of each alert, and who was told of it first, and when, by the clock.

    ``problem``: why nobody knows what became of the alerts, mostly empty.
    """
    heard = [
        (row["first_told_at"], row["channel"]) for rows in told.values() for row in rows if row["first_told_at"]
    ]
    first_told_at, channel = min(heard, key=lambda one: (moment(one[0]), one[1]), default=(None, ""))
    return {
        **found,
        "made_at": found["alerts"][0]["made_at"],
        "first_told_at": first_told_at,
        "first_told_by": channel,
        "deliveries_problem": problem,
        "alerts": [{**row, "deliveries": list(told.get(row["id"], ()))} for row in found["alerts"]],
    }


def _window(window: WindowScore, start_ms: int, end_ms: int) -> dict[str, Any]:
    """The test that the incident is told by, its place in time, and the baseline it was compared with."""
    return {
        **window_row(window),
        "from": iso(start_ms),
        "until": iso(end_ms),
        "image_share": round(window.image_only / window.mentions, 4) if window.mentions else 0.0,
        "baseline_from": iso(max(0, start_ms - window.baseline_windows * window.window_ms)),
    }


def _first_post(entity: str, documents: Sequence[Document]) -> dict[str, Any] | None:
    """The earliest post of the window that is still stored."""
    if not documents:
        return None
    post = documents[0].post
    return {
        "id": post.id,
        "created_at": iso(post.created_ms),
        "author": post.author,
        "author_known": post.author_known,
        "source": post.source,
        "url": post_url(post),
        "excerpt": post.text[:EXCERPT_CHARS],
        "surface": next((one.surface for one in documents[0].mentions if one.entity == entity), ""),
    }


def _found(entity: str, documents: Sequence[Document]) -> dict[str, Any]:
    """Over the posts of the window, at most ``POSTS_MAX``: how the entity was written, and which model found it."""
    own = [[one for one in document.mentions if one.entity == entity] for document in documents]
    surfaces = Counter(surface for mentions in own for surface in {one.surface for one in mentions})
    models = Counter(document.model_version for document in documents)
    return {
        "posts": len(documents),
        "most": POSTS_MAX,
        "surfaces": [{"surface": surface, "count": count} for surface, count in _most(surfaces)],
        "models": [{"version": version, "count": count} for version, count in _most(models)],
        "image_only": sum(all(one.provenance == IMAGE for one in mentions) for mentions in own),
        "reposts": sum(bool(document.post.repost_of) for document in documents),
    }


def _most(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda row: (-row[1], row[0]))


def _posts(
    flips: Sequence[Flip], pictures: dict[str, list[str]], documents: Sequence[Document]
) -> list[dict[str, Any]]:
    """Each post that the alerts show once, as it was frozen, the newest alert's first."""
    shown: dict[str, Evidence] = {}
    for flip in reversed(flips):
        for one in flip.evidence:
            if one.post_id:
                shown.setdefault(one.post_id, one)
    stored = {document.post.id: document.post for document in documents}
    return [
        {
            **msgspec.structs.asdict(one),
            "created_at": iso(one.created_ms),
            "pictures": pictures.get(name, []),
            "url": post_url(stored[name]) if name in stored else "",
        }
        for name, one in shown.items()
    ]


def _removed(flips: Sequence[Flip]) -> int:
    """How many posts were shown and have been deleted since; of what they were only time and name are left."""
    return len({(one.created_ms, one.surface) for flip in flips for one in flip.evidence if not one.post_id})


def _links(flip: Flip, start_ms: int, end_ms: int) -> dict[str, str]:
    """Where to look further; paths of this server."""
    name = quote(flip.incident_id, safe="")
    window = urlencode({"entity": flip.entity, "since": iso(start_ms), "until": iso(end_ms)})
    found = {"page": f"/alerts/{name}", "api": f"/api/alerts/{name}", "chart": f"/api/alerts/{name}/chart.png"}
    if flip.type in ELSEWHERE:
        return {**found, **ELSEWHERE[flip.type]}
    return {**found, "entity": "/entities/" + quote(flip.entity, safe="/"), "search": f"/search?{window}"}
