"""Who is told of an alert, how often, and when nobody is: what a rule says of it, which travels in its alerts."""

from __future__ import annotations

import msgspec


class _Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the parts."""


class Hours(_Value, frozen=True, kw_only=True):
    """Minutes [``from_minute``, ``to_minute``) of local days, over midnight where the first is the greater.

    ``days`` are those on which they begin, 0 being Monday; none means all.
    """

    from_minute: int
    to_minute: int
    days: tuple[int, ...] = ()


class Notice(_Value, frozen=True, kw_only=True):
    """How alerts are told.

    ``receivers``: names of channels, none for all. Alerts that agree in ``group_by`` (``rule``, ``kind``, ``type``,
    ``entity``, ``severity``, ``event``, or a label) make one message, ``group_wait_s`` after the first of them, then
    every ``group_interval_s`` what is new. What still fires is told again every ``repeat_interval_s``; 0 for never. In
    the ``mute`` hours of ``timezone`` nobody is told; the alerts are kept all the same. ``annotations``: Jinja
    templates by name.
    """

    receivers: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()
    group_wait_s: float = 0.0
    group_interval_s: float = 300.0
    repeat_interval_s: float = 0.0
    mute: tuple[Hours, ...] = ()
    timezone: str = "Asia/Shanghai"
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
