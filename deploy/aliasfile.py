"""The alias file: YAML for people → the payload of a Control record.

``merge`` lists entities with the names that mean them, ``split`` names that are to stand for themselves again::

    version: 3
    merge:
      - entity: LOC/上海
        names: [LOC/沪, ORG/魔都, 上海市]     # a name without a type holds for every type
    split:
      - from: LOC/上海
        names: [LOC/沪]
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from deploy import yamlmarks
from deploy.yamlmarks import Marked, located
from stream.core.entities import ANY_TYPE, AliasError, merged


class Merge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names that mean ``entity``."""

    entity: str
    names: list[str]


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names that no longer mean ``source``."""

    source: str = msgspec.field(name="from")
    names: list[str]


class AliasFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file; ``version`` must grow with each change that is applied."""

    version: int
    merge: list[Merge] = []
    split: list[Split] = []


def load(path: Path) -> tuple[str, list[str]]:
    """(payload, errors): the payload is only good when there are no errors; each error names line and field."""
    marked, errors = yamlmarks.read(path)
    if marked is None:
        return "", errors
    found, errors = yamlmarks.shaped(marked, AliasFile, path)
    if found is None:
        return "", errors
    errors = _problems(found, marked, path)
    if errors:
        return "", errors
    groups = {merge.entity: [_typed(name) for name in merge.names] for merge in found.merge}
    for split in found.split:
        gone = {_typed(name) for name in split.names}
        groups[split.source] = [name for name in groups.get(split.source, []) if name not in gone]
    aliases = merged(groups, found.version)
    try:
        aliases.check()
    except AliasError as error:
        return "", [located(marked, path, "$.merge", str(error))]
    return aliases.to_payload(), []


def version(payload: str) -> int:
    """The version in a payload."""
    return int(msgspec.json.decode(payload)["version"])


def _typed(name: str) -> str:
    return name if "/" in name else f"{ANY_TYPE}/{name}"


def _problems(found: AliasFile, marked: Marked, path: Path) -> list[str]:
    errors: list[str] = []
    owners: dict[str, str] = {}
    for number, merge in enumerate(found.merge):
        at = f"$.merge[{number}]"
        if "/" not in merge.entity or merge.entity.startswith("*"):
            errors.append(located(marked, path, f"{at}.entity", f"{merge.entity!r}: write TYPE/name, e.g. LOC/上海"))
        for place, name in enumerate(merge.names):
            owner = owners.setdefault(_typed(name), merge.entity)
            if owner != merge.entity:
                errors.append(located(marked, path, f"{at}.names[{place}]", f"{name} already means {owner}"))
    return errors
