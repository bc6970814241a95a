"""Settings of the core: one frozen value that travels beside the state."""

from __future__ import annotations

from typing import Final

import msgspec

DAY_S: Final = 86_400


class CoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits and time constants of Track and Judge. Changing ``bin_s`` needs a new store.

    - ``bin_s``: width of an event-time bin.
    - ``late_horizon_s``: how far behind the watermark a post still corrects its bin; duplicates are known that long.
    - ``lateness_s``: slack by which the watermark stays behind the reaches of the sources.
    - ``windows_s``: windows that are scored while no rules are in force.
    - ``utc_offset_s``: local time of the hour-of-week profile (Asia/Shanghai has no summer time).
    - ``half_life_s``: half-life of the baselines, at least four of the window concerned.
    - ``warmup_s``: event time that a stream must have run, and at least two windows, before a window is judged.
    - ``dispersion``: negative-binomial dispersion with which kinds of entities begin, until theirs is learned.
    - ``authors_per_bin_max``: authors remembered per entity and closed bin; more are estimated from these.
    - ``evidence_per_bin_max``, ``evidence_per_alert_max``: posts kept as evidence.
    - ``excerpt_chars``: length of a piece of evidence.
    - ``entities_per_report_max``: reports of a bin name at most this many entities, the best ones.
    - ``mentions_per_post_max``: mentions kept of one post, the first ones.
    - ``covered_min``: bursts and new names wait while less of their window was seen than this share.
    - ``entities_max``: entities that a partition remembers; beyond, the ones that have been silent for longest go.
    - ``row_hashes_max``: posts and mentions of a bin that are stored again with each batch; what is beyond is sealed.
    """

    bin_s: int = 300
    late_horizon_s: int = 86_400
    lateness_s: int = 0
    windows_s: tuple[int, ...] = (300, 3600, 21_600)
    utc_offset_s: int = 28_800
    half_life_s: int = 604_800
    warmup_s: int = 86_400
    dispersion: float = 0.3
    authors_per_bin_max: int = 128
    evidence_per_bin_max: int = 3
    evidence_per_alert_max: int = 5
    excerpt_chars: int = 80
    entities_per_report_max: int = 500
    mentions_per_post_max: int = 500
    covered_min: float = 0.9
    entities_max: int = 1_000_000
    row_hashes_max: int = 8192

    def __post_init__(self) -> None:
        for name in ("late_horizon_s", "lateness_s", "warmup_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"core.{name} must not be negative")
        for name in (
            "bin_s", "half_life_s", "authors_per_bin_max", "evidence_per_bin_max", "evidence_per_alert_max",
            "excerpt_chars", "entities_per_report_max", "mentions_per_post_max", "entities_max",
            "row_hashes_max",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"core.{name} must be at least 1")
        if not self.windows_s or min(self.windows_s) < 1:
            raise ValueError("core.windows_s must name at least one window, in seconds")
        if not abs(self.utc_offset_s) <= DAY_S:
            raise ValueError("core.utc_offset_s must be within a day")
        if not 0 <= self.covered_min <= 1:
            raise ValueError("core.covered_min must be from 0 to 1")
        if not 0 < self.dispersion < float("inf"):
            raise ValueError("core.dispersion must be above 0")

    @property
    def bin_ms(self) -> int:
        """Width of a bin in milliseconds."""
        return self.bin_s * 1000

    @property
    def late_horizon_ms(self) -> int:
        """``late_horizon_s`` in milliseconds."""
        return self.late_horizon_s * 1000
