"""Settings of the runtimes."""

from __future__ import annotations

import msgspec


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of the worker. ``lag_records_max`` is how far sources may run ahead of it."""

    batch_posts_max: int = 128
    batch_bytes_max: int = 16_000_000
    lag_records_max: int = 2048
    disk_retry_s: float = 5.0
    inbox_poll_s: float = 1.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            least = 1 if name.endswith("_max") else 0.01
            if not least <= getattr(self, name) < float("inf"):
                raise ValueError(f"worker.{name} must be at least {least}")
