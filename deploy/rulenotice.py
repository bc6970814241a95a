"""What rules say of telling: who is told, together with what, how often, when nobody is, and in which words."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from deploy.yamlmarks import Marks
from stream.contract.notices import Hours, Notice
from stream.core import grouping
from stream.core.rules import RuleSet
from stream.notify.annotations import AnnotationError, check

FIELDS: Final = ("route", "group_by", "group_wait", "group_interval", "repeat_interval", "mute", "annotations")
"""Fields of a rule that are read here."""
RECEIVERS_MAX: Final = 20
ANNOTATIONS_MAX: Final = 20
MUTES_MAX: Final = 20
WAIT_S_MAX: Final = 86_400.0
REPEAT_S_MIN: Final = 60.0
REPEAT_S_MAX: Final = 7 * 86_400.0
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_USUAL: Final = Notice()
_HOURS: Final = re.compile(r"(\d\d?):(\d\d)\s*-\s*(\d\d?):(\d\d)")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def notice(marks: Marks, fields: Mapping[str, yaml.Node], at: str) -> Notice:
    """The notice of the rule at ``at``, whose ``fields`` are given; what is wrong goes to ``marks``."""
    group_by = _group_by(marks, fields, at)
    if "group_interval" in fields and not group_by:
        marks.complain(fields["group_interval"], f"{at}.group_interval", "is only for rules with group_by")
    zone, mute = _mute(marks, fields.get("mute"), f"{at}.mute")
    return Notice(
        receivers=_receivers(marks, fields.get("route"), f"{at}.route"),
        group_by=group_by,
        group_wait_s=_duration(marks, fields, at, "group_wait", _USUAL.group_wait_s, 0.0, WAIT_S_MAX),
        group_interval_s=_duration(marks, fields, at, "group_interval", _USUAL.group_interval_s, 1.0, WAIT_S_MAX),
        repeat_interval_s=_duration(marks, fields, at, "repeat_interval", 0.0, REPEAT_S_MIN, REPEAT_S_MAX),
        mute=mute,
        timezone=zone,
        annotations=_annotations(marks, fields.get("annotations"), f"{at}.annotations"),
    )


def strangers(payload: str, channels: Collection[str]) -> Iterator[str]:
    """What is wrong with the receivers of the rules in ``payload``, where ``channels`` are all that there are."""
    known = ", ".join(sorted(channels)) or "none; see docs/alerts.md"
    for rule in RuleSet.from_payload(payload).rules:
        for name in rule.notice.receivers:
            if name not in channels:
                yield f"rule {rule.id}: route.receivers: no channel {name} in the settings. Channels: {known}"


def _duration(
    marks: Marks, fields: Mapping[str, yaml.Node], at: str, name: str, usual: float, low: float, high: float
) -> float:
    found = marks.duration_s(fields.get(name), f"{at}.{name}", usual)
    if name in fields and not low <= found <= high:
        marks.complain(fields[name], f"{at}.{name}", f"must be {low:g}s to {high / 3600:g}h")
    return found


def _receivers(marks: Marks, node: yaml.Node | None, at: str) -> tuple[str, ...]:
    nodes = marks.mapping(node, at, ("receivers",))
    if node is not None and "receivers" not in nodes:
        marks.complain(node, f"{at}.receivers", "is missing; write the names of channels: [ops]")
    found = marks.texts(nodes.get("receivers"), f"{at}.receivers")
    if "receivers" in nodes and not 1 <= len(found) <= RECEIVERS_MAX:
        marks.complain(nodes["receivers"], f"{at}.receivers", f"write 1 to {RECEIVERS_MAX} names of channels")
    return found


def _group_by(marks: Marks, fields: Mapping[str, yaml.Node], at: str) -> tuple[str, ...]:
    found = marks.texts(fields.get("group_by"), f"{at}.group_by")
    labels = fields.get("labels")
    own = [str(key.value) for key, _ in labels.value] if isinstance(labels, yaml.MappingNode) else []
    for name in found:
        if name and name not in grouping.FIELDS and name not in own:
            known = ", ".join((*grouping.FIELDS, *own))
            problem = f'"{name}" is no label of this rule; write some of {known}'
            marks.complain(fields["group_by"], f"{at}.group_by", problem)
    return tuple(dict.fromkeys(found))


def _mute(marks: Marks, node: yaml.Node | None, at: str) -> tuple[str, tuple[Hours, ...]]:
    """The time zone and the hours; one stretch may stand without a list."""
    if node is None:
        return _USUAL.timezone, ()
    several = isinstance(node, yaml.SequenceNode)
    nodes = marks.items(node, at) if several else [node]
    if not 1 <= len(nodes) <= MUTES_MAX:
        marks.complain(node, at, f"write 1 to {MUTES_MAX} stretches")
    zones, found = [], []
    for number, one in enumerate(nodes):
        place = f"{at}[{number}]" if several else at
        parts = marks.mapping(one, place, ("hours", "days", "tz"))
        if not parts.keys() & {"hours", "days"}:
            marks.complain(one, place, 'needs hours: "22:00-07:00", or days: [sat, sun]')
        zones.append(_zone(marks, parts.get("tz"), f"{place}.tz"))
        found.append(_hours(marks, parts, place))
        if zones[-1] != zones[0]:
            marks.complain(one, f"{place}.tz", f"a rule has one time zone; the first stretch is in {zones[0]}")
    return zones[0] if zones else _USUAL.timezone, tuple(found)


def _hours(marks: Marks, parts: Mapping[str, yaml.Node], at: str) -> Hours:
    text = marks.text(parts.get("hours"), f"{at}.hours", "00:00-24:00")
    match = _HOURS.fullmatch(text)
    first, last = (int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])) if match else (-1, -1)
    if match is None or not (first < 1440 and last <= 1440) or max(int(match[2]), int(match[4])) > 59:
        marks.complain(parts.get("hours"), f"{at}.hours", f'"{text[:40]}" are no hours; write "22:00-07:00"')
        first, last = 0, 0
    days = []
    for name in marks.texts(parts.get("days"), f"{at}.days"):
        if name in DAYS:
            days.append(DAYS.index(name))
        elif name:
            marks.complain(parts["days"], f"{at}.days", f'"{name[:40]}" is no day; write {", ".join(DAYS)}')
    return Hours(from_minute=first, to_minute=last, days=tuple(sorted(set(days))))


def _zone(marks: Marks, node: yaml.Node | None, at: str) -> str:
    name = marks.text(node, at, _USUAL.timezone)
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        marks.complain(node, at, f'"{name[:40]}" is no time zone; write one like Asia/Shanghai')
    return name


def _annotations(marks: Marks, node: yaml.Node | None, at: str) -> dict[str, str]:
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        marks.complain(node, at, "write name: template lines")
        return {}
    names = [str(key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    if len(names) > ANNOTATIONS_MAX:
        marks.complain(node, at, f"there may be {ANNOTATIONS_MAX} annotations")
    found = {}
    for name, value in marks.mapping(node, at, names).items():
        if not _NAME.fullmatch(name):
            marks.complain(value, f"{at}.{name[:40]}", "is no name; write letters, digits and _")
        found[name] = marks.text(value, f"{at}.{name}")
        try:
            check(found[name])
        except AnnotationError as error:
            marks.complain(value, f"{at}.{name}", str(error), error.line + _first_line(value))
    return found


def _first_line(node: yaml.Node) -> int:
    """Where the first line of a text stands below its node, less the one from which its lines count."""
    return 0 if getattr(node, "style", None) in ("|", ">") else -1


