"""Settings of fetching pictures, apart from the code that does it: the command line reads them at every start."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

from stream.contract.guard import networks

BYTES_MOST: Final = 32 * 1024 * 1024
"""More are never read: a decoder takes them in one piece."""
TIMEOUT_S_MOST: Final = 600.0


class PictureSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How pictures are fetched. ``size`` is the folder of Weibo's picture hosts: 360 px are enough to tell entities.

    ``timeout_s`` is for a whole picture, wherever it is sent on to. ``slow_bytes_per_s``: a host that gives less, after
    a few seconds, is cut off; 0 waits for any. ``per_host`` and ``concurrent``: pictures at once, from the request
    until they are decoded. ``allow``: networks besides the public ones. ``base_url`` takes the place of every picture's
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
        if self.bytes_max > BYTES_MOST:
            raise ValueError(f"pictures.bytes_max must be at most {BYTES_MOST}")
        # Written so that a NaN is refused, too.
        if not 0 < self.timeout_s <= TIMEOUT_S_MOST:
            raise ValueError(f"pictures.timeout_s must be above 0 and at most {TIMEOUT_S_MOST:g}")
        if self.slow_bytes_per_s < 0 or self.redirects_max < 0:
            raise ValueError("pictures.slow_bytes_per_s and redirects_max must not be negative")
        if not re.fullmatch(r"[a-z0-9]*", self.size):
            raise ValueError("pictures.size is a folder of Weibo's picture hosts: orj360, mw690, large …")
        try:
            networks(self.allow)
        except ValueError as error:
            raise ValueError(f"pictures.allow: {error}") from None
        if self.base_url and not _is_base(self.base_url):
            raise ValueError("pictures.base_url must be empty or like http://127.0.0.1:8080")


def _is_base(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
