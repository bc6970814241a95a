"""Settings of everything that asks Weibo."""

from __future__ import annotations

from ingest.weibo.politeness import PaceSettings


class WeiboSettings(PaceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The session, where Weibo is, and how often a source is asked; see ``PaceSettings`` for the pace.

    ``cookie`` is the header as the browser sends it, ``cookie_file`` a file with it, which is read again when it
    changes. The addresses are only changed to talk to a fake. A source is asked every ``poll_s_min`` to ``poll_s_max``
    seconds, the more often the busier it is; a hot list every ``hot_every_s``. ``settle_s``: so long after it was
    written a post may take to show up in a list. ``idle_after_s``: a source that could not be asked for so long no
    longer holds the others back. ``pages_max`` bounds one walk through a list; ``first_pages`` the very first one.
    ``details``: long texts and more than nine pictures are fetched, for one request each.
    """

    cookie: str = ""
    cookie_file: str = ""
    mobile_url: str = "https://m.weibo.cn"
    desktop_url: str = "https://weibo.com"
    search_url: str = "https://s.weibo.com"
    timeout_s: float = 20.0
    poll_s_min: float = 180.0
    poll_s_max: float = 21_600.0
    hot_every_s: float = 600.0
    settle_s: float = 60.0
    idle_after_s: float = 1_800.0
    first_pages: int = 1
    pages_max: int = 50
    details: bool = True
    pictures: bool = True
    memory_days: float = 45.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 10 <= self.poll_s_min <= self.poll_s_max:
            raise ValueError("weibo.poll_s_min must be at least 10 and at most weibo.poll_s_max")
        for name in ("hot_every_s", "idle_after_s", "first_pages", "pages_max", "memory_days"):
            if getattr(self, name) < 1:
                raise ValueError(f"weibo.{name} must be at least 1")
        if self.settle_s < 0 or self.timeout_s <= 0:
            raise ValueError("weibo.settle_s must not be negative, weibo.timeout_s must be greater than 0")
        for name in ("mobile_url", "desktop_url", "search_url"):
            if not getattr(self, name).startswith(("http://", "https://")):
                raise ValueError(f"weibo.{name} must begin with https:// or http://")
