"""What goes wrong in the fake Weibo: by schedule, by chance, and for whoever asks too fast. Pure."""

from __future__ import annotations

import random
from typing import Final, Literal, get_args

import msgspec

Kind = Literal[
    "432", "418", "403", "429", "busy", "login", "captcha", "shell", "garbage", "truncated", "slow", "loop", "reset",
    "empty", "omit",
]  # fmt: skip
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""HTTP states; ``ok:0`` 频繁; ``ok:-100``; a captcha; the page of the login; no JSON; half of it; slowly; redirects
without end; a closed connection; a list that is empty in the middle; a page that lacks some of its posts."""
BLOCKS: Final = frozenset(("432", "login", "captcha"))
"""After these nothing may be asked until somebody acted."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``kind`` happens to requests of ``endpoint`` ("" all) in [``from_s``, ``until_s``) of the world's time, each with
    ``share`` probability."""

    kind: Kind
    endpoint: str = ""
    from_s: float = 0.0
    until_s: float = 1e18
    share: float = 1.0


class Faults:
    """Draws the fault of each request; deterministic for a seed and an order of requests."""

    def __init__(self, faults: list[Fault], seed: int) -> None:
        self.faults = faults
        self._draw = random.Random(seed)

    def of(self, endpoint: str, at_s: float) -> Kind | None:
        """What goes wrong with this request, None mostly."""
        for fault in self.faults:
            if fault.endpoint in ("", endpoint) and fault.from_s <= at_s < fault.until_s:
                if fault.share >= 1 or self._draw.random() < fault.share:
                    return fault.kind
        return None

    def lacking(self, count: int) -> set[int]:
        """Places of a page of ``count`` that are left out."""
        return set(self._draw.sample(range(count), min(count, self._draw.randint(1, 5))))


class Limit(msgspec.Struct, kw_only=True):
    """A token bucket of one session: ``per_minute`` requests, ``burst`` at once.

    Who goes on when it is empty gets 418, after ``patience`` of these 432 for ``block_s``, and then no answer at all.
    """

    per_minute: float
    burst: float = 10.0
    patience: int = 3
    block_s: float = 600.0
    tokens: float = -1.0
    at_s: float = 0.0
    breaches: int = 0
    blocked_until_s: float = 0.0

    def take(self, now_s: float) -> Kind | None:
        """What a request at ``now_s`` gets instead of an answer."""
        if self.tokens < 0:
            self.tokens, self.at_s = self.burst, now_s
        self.tokens = min(self.burst, self.tokens + (now_s - self.at_s) * self.per_minute / 60)
        self.at_s = now_s
        if now_s < self.blocked_until_s:
            self.breaches += 1
            return "reset" if self.breaches > 2 * self.patience else "432"
        if self.tokens >= 1:
            self.tokens -= 1
            return None
        self.breaches += 1
        if self.breaches <= self.patience:
            return "418"
        self.blocked_until_s = now_s + self.block_s
        return "432"
