"""What a rules file says of telling, and every mistake in it by line and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import rulefile, rulenotice
from stream.contract.notices import Hours, Notice
from stream.core.rules import RuleSet

RULE = "version: 1\nrules:\n- id: r\n  kind: burst\n  labels: {team: pr}\n"


def read(tmp_path: Path, text: str) -> tuple[str, list[str]]:
    path = tmp_path / "rules.yaml"
    path.write_text(RULE + text, encoding="utf-8")
    payload, errors = rulefile.load(path, lambda one: one)
    return payload, [error.removeprefix(f"{path}:") for error in errors]


def notice(tmp_path: Path, text: str) -> Notice:
    payload, errors = read(tmp_path, text)
    assert errors == []
    return RuleSet.from_payload(payload).rules[0].notice


def test_all_of_it(tmp_path: Path) -> None:
    text = """\
  route: {receivers: [ops, night]}
  group_by: [type, team, event]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 4h
  mute:
  - {hours: "22:00-07:00", tz: Europe/Berlin}
  - {days: [sun, sat], tz: Europe/Berlin}
  annotations:
    title: "{{ surface }} x{{ lift|round(1) }}"
    body: |
      {{ reason }}
      {{ posts|first }}
"""
    assert notice(tmp_path, text) == Notice(
        receivers=("ops", "night"), group_by=("type", "team", "event"), group_wait_s=30, group_interval_s=300,
        repeat_interval_s=14_400, timezone="Europe/Berlin",
        mute=(Hours(from_minute=1320, to_minute=420), Hours(from_minute=0, to_minute=1440, days=(5, 6))),
        annotations={"title": "{{ surface }} x{{ lift|round(1) }}", "body": "{{ reason }}\n{{ posts|first }}"},
    )  # fmt: skip


def test_nothing_of_it_and_the_short_forms(tmp_path: Path) -> None:
    assert notice(tmp_path, "") == Notice()
    short = notice(tmp_path, "  route: {receivers: ops}\n  group_by: rule\n  mute: {hours: 22:00-07:00, days: fri}\n")
    assert (short.receivers, short.group_by, short.timezone) == (("ops",), ("rule",), "Asia/Shanghai")
    assert short.mute == (Hours(from_minute=1320, to_minute=420, days=(4,)),)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("  route: {receiver: ops}", "6: rules[0].route.receiver: is not known; did you mean receivers?"),
        ("  route: {}", "6: rules[0].route.receivers: is missing; write the names of channels: [ops]"),
        ("  route: {receivers: []}", "6: rules[0].route.receivers: write 1 to 20 names of channels"),
        ("  group_by: [tpye]", '6: rules[0].group_by: "tpye" is no label of this rule; write some of rule, kind, '
         "type, entity, severity, event, team"),
        ("  group_interval: 5m", "6: rules[0].group_interval: is only for rules with group_by"),
        ("  group_wait: 30", '6: rules[0].group_wait: "30" is no duration; write e.g. 5m, 1h, 7d'),
        ("  group_wait: 2d", "6: rules[0].group_wait: must be 0s to 24h"),
        ("  repeat_interval: 1s", "6: rules[0].repeat_interval: must be 60s to 168h"),
        ("  repeat_interval: 0s", "6: rules[0].repeat_interval: must be 60s to 168h"),
        ("  mute: night", '6: rules[0].mute: "night" is no mapping; write key: value lines'),
        ("  mute: {tz: Asia/Shanghai}", '6: rules[0].mute: needs hours: "22:00-07:00", or days: [sat, sun]'),
        ("  mute:\n  - {hours: 22-7}", '7: rules[0].mute[0].hours: "22-7" are no hours; write "22:00-07:00"'),
        ('  mute: {hours: "24:00-25:00"}', '6: rules[0].mute.hours: "24:00-25:00" are no hours; write "22:00-07:00"'),
        ('  mute: {hours: "22:60-23:00"}', '6: rules[0].mute.hours: "22:60-23:00" are no hours; write "22:00-07:00"'),
        ("  mute: {days: [weekend]}", '6: rules[0].mute.days: "weekend" is no day; write mon, tue, wed, thu, fri, '
         "sat, sun"),
        ("  mute: {days: sat, tz: Peking}", '6: rules[0].mute.tz: "Peking" is no time zone; write one like '
         "Asia/Shanghai"),
        ("  mute: {days: sat, tz: ../../etc/passwd}", '6: rules[0].mute.tz: "../../etc/passwd" is no time zone; '
         "write one like Asia/Shanghai"),
        ("  mute:\n  - {days: sat}\n  - {days: sun, tz: UTC}", "8: rules[0].mute[1].tz: a rule has one time zone; the "
         "first stretch is in Asia/Shanghai"),
        ("  mute: []", "6: rules[0].mute: write 1 to 20 stretches"),
        ("  annotations: x", "6: rules[0].annotations: write name: template lines"),
        ("  annotations:\n    a b: x", "7: rules[0].annotations.a b: is no name; write letters, digits and _"),
        ("  annotations:\n    title: '{{ nobody }}'", "7: rules[0].annotations.title: nobody is no fact of an alert; "
         "there are at, authors, busiest, copied, effective_authors, engagement, entity, event, expected, first_seen, "
         "id, image_only, kind, labels, lift, lift_low, members, mentions, observed, origin, passed_on, posts, reason, "
         "reposts, rule, score, severity, since, state, surface, threshold, type, window_minutes"),
        ("  annotations:\n    body: |\n      one\n      {% for x in posts %}", "9: rules[0].annotations.body: is no "
         "template: Unexpected end of template. Jinja was looking for the following tags: 'endfor' or 'else'. The "
         "innermost block that needs to be closed is 'for'."),
    ],
)  # fmt: skip
def test_mistakes_are_told_by_line_and_field(tmp_path: Path, text: str, error: str) -> None:
    payload, errors = read(tmp_path, text)
    assert payload == "" and error in errors, errors


def test_receivers_that_nobody_has_set_up(tmp_path: Path) -> None:
    payload, _ = read(tmp_path, "  route: {receivers: [ops, oops]}\n")
    assert list(rulenotice.strangers(payload, ["ops", "mail"])) == [
        "rule r: route.receivers: no channel oops in the settings. Channels: mail, ops"
    ]
    assert list(rulenotice.strangers(payload, ["ops", "oops"])) == []
