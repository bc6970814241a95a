"""Settings of fetching pictures, apart from the code that does it: the command line reads them at every start."""

from __future__ import annotations

import re

import msgspec

from ingest.guard import networks


class PictureSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How pictures are fetched. ``size`` is the folder of Weibo's picture hosts: 360 px are enough to tell entities.

    ``slow_bytes_per_s``: a host that gives less, after a few seconds, is cut off. ``per_host`` and ``concurrent``:
    requests at once. ``allow``: networks besides the public ones. ``base_url`` takes the place of every picture's
    scheme and host, to talk to a fake.
    """

    size: str = "orj360"
    bytes_max: int = 10 * 1024 * 1024
    timeout_s: float = 20.0
    slow_bytes_per_s: int = 2_000
    per_host: int = 4
    concurrent: int = 8
    redirects_max: int = 3
    processes: int = 1
    allow: tuple[str, ...] = ()
    base_url: str = ""

    def __post_init__(self) -> None:
        for name in ("bytes_max", "per_host", "concurrent", "processes"):
            if getattr(self, name) < 1:
                raise ValueError(f"pictures.{name} must be at least 1")
        if self.timeout_s <= 0 or self.slow_bytes_per_s < 0 or self.redirects_max < 0:
            raise ValueError("pictures.timeout_s must be above 0, slow_bytes_per_s and redirects_max not negative")
        if not re.fullmatch(r"[a-z0-9]*", self.size):
            raise ValueError("pictures.size is a folder of Weibo's picture hosts: orj360, mw690, large …")
        try:
            networks(self.allow)
        except ValueError as error:
            raise ValueError(f"pictures.allow: {error}") from None
