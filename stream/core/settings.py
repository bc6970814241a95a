"""Settings of the core."""

from __future__ import annotations

import msgspec


class CoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers that decide what is found; changing one starts a new history of alerts.

    ``bin_s`` is the width of an event-time bin. A sighting that comes after its bin was closed is a correction within
    ``late_horizon_s`` and dropped beyond. No rule fires before the stream covers ``warm_up_windows`` of its window.
    Baselines forget by half in ``half_life_s``. ``authors_per_bin_max`` bounds what is kept of one entity's bin, and
    ``mentions_per_post_max`` what one post may mention.
    """

    bin_s: int = 300
    late_horizon_s: int = 86_400
    warm_up_windows: int = 4
    half_life_s: int = 7 * 86_400
    authors_per_bin_max: int = 4096
    evidence_per_bin_max: int = 3
    excerpt_chars: int = 80
    mentions_per_post_max: int = 500

    @property
    def bin_ms(self) -> int:
        """Width of a bin in milliseconds."""
        return self.bin_s * 1000
