"""Bulk requests: bounded, each item judged on its own, tried again until every one is settled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from index.elastic_client import Cluster, ElasticError, Patience, Refused, Unavailable, described
from index.elastic_records import Action
from index.elastic_settings import ElasticSettings

ANSWER: Final = "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"
REPLACED: Final = 200
"""The status of an action that took the place of another row."""
_DONE: Final = (REPLACED, 201)
_KNOWN: Final = 409
_MISSING: Final = 404
_TOO_LARGE: Final = 413


class Settled(NamedTuple):
    """What became of an action. ``status`` is HTTP's; ``problem`` says why it was refused for good, else empty."""

    action: Action
    status: int
    problem: str = ""

    @property
    def done(self) -> bool:
        """Whether it changed something; False too when the same or a newer row was there, or none to delete."""
        return self.status in _DONE

    @property
    def known(self) -> bool:
        """Whether the same or a newer row was there."""
        return self.status == _KNOWN and not self.problem


class Bulk:
    """Sends actions in requests within the limits of the settings. Blocks; for one thread."""

    def __init__(self, cluster: Cluster, settings: ElasticSettings, patience: Patience) -> None:
        self._cluster = cluster
        self._documents_max = settings.bulk_documents_max
        self._bytes_max = settings.bulk_bytes_max
        self._patience = patience

    def send(self, actions: Iterable[Action]) -> list[Settled]:
        """Every action settled, in their order. Actions of one call must be about different rows.

        Raises ``ElasticError`` and ``Stopped``; then nothing is known about those that were under way, and the same
        call may be made again.
        """
        settled: list[Settled] = []
        for part in self._parts(actions):
            settled += self._settle(part)
        return settled

    def send_all(self, actions: Iterable[Action]) -> None:
        """``send`` for what must not be left out: raises ``ElasticError`` also for what is refused for good."""
        for row in self.send(actions):
            if row.problem:
                raise ElasticError(f"{self._cluster.url} refuses {row.action.target}/{row.action.id}: {row.problem}")

    def _parts(self, actions: Iterable[Action]) -> Iterator[list[Action]]:
        part: list[Action] = []
        size = 0
        for action in actions:
            if part and (len(part) == self._documents_max or size + len(action.lines) > self._bytes_max):
                yield part
                part, size = [], 0
            part.append(action)
            size += len(action.lines)
        if part:
            yield part

    def _settle(self, part: Sequence[Action]) -> list[Settled]:
        """One request after another until nothing of ``part`` is left."""
        found: list[Settled | None] = [None] * len(part)
        left = list(range(len(part)))
        while left:
            try:
                left = self._once(part, left, found)
            except Unavailable as error:
                self._patience.wait(error)
            except Refused as error:
                if error.status not in (400, _TOO_LARGE):
                    raise ElasticError(f"{self._cluster.url} takes no bulk requests: {error.status} {error}") from error
                if len(left) == 1:
                    found[left[0]] = Settled(part[left[0]], error.status, str(error))
                    break
                middle = len(left) // 2
                for half in (left[:middle], left[middle:]):
                    for place, outcome in zip(half, self._settle([part[place] for place in half]), strict=True):
                        found[place] = outcome
                break
        return [outcome for outcome in found if outcome is not None]

    def _once(self, part: Sequence[Action], left: list[int], found: list[Settled | None]) -> list[int]:
        """One request for the places ``left``. Returns the places that have to be tried again."""
        body = b"".join([part[place].lines for place in left])
        answer = self._cluster.call("POST", "/_bulk", body, params={"filter_path": ANSWER})
        items = answer.get("items", ())
        if len(items) != len(left):
            raise Unavailable("server_error", f"{len(items)} answers to {len(left)} items of a bulk")
        again: list[int] = []
        trouble: Unavailable | None = None
        for place, item in zip(left, items, strict=True):
            outcome = self._outcome(part[place], next(iter(item.values())))
            if isinstance(outcome, Unavailable):
                again.append(place)
                trouble = outcome
            else:
                found[place] = outcome
        if trouble is not None:
            self._patience.wait(trouble)
        else:
            self._patience.eased()
        return again

    def _outcome(self, action: Action, item: Mapping[str, Any]) -> Settled | Unavailable:
        status = int(item["status"])
        if status in _DONE or status == _KNOWN or (status == _MISSING and "error" not in item):
            return Settled(action, status)
        kind, detail = described(item)
        judged = self._cluster.judged(status, kind, detail)
        if isinstance(judged, Unavailable):
            return judged
        if judged is not None:
            raise judged
        if kind == "index_not_found_exception":
            raise ElasticError(
                f"{self._cluster.url} makes no index {action.target}: {detail}. Check action.auto_create_index there."
            )
        return Settled(action, status, f"{kind}: {detail}"[:500])
