"""Alias files: which names mean one entity, as YAML for people → the payload that the core obeys.

``merge`` gathers names under an entity; ``split`` takes names out of a merge again (of a file that is kept by others
and included here, say). A name is ``TYPE/name``, or a bare name of any type.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from deploy.names import named
from deploy.yamlmarks import Marks
from stream.contract import codec
from stream.contract.records import Control
from stream.core.entities import ANY_TYPE, AliasError, merged

if TYPE_CHECKING:
    from stream.core.enrich import T2s

NAMES_MAX = 100_000


def load(path: Path, t2s: T2s) -> tuple[str, list[str]]:
    """(payload, errors) of an alias file; the payload is empty when there are errors. ``t2s`` as for posts."""
    marks = Marks(str(path))
    root = marks.root(path)
    fields = marks.mapping(root, "", ("version", "merge", "split"))
    number = marks.whole(fields.get("version"), "version", 1, 1, 2**53)
    if root is not None and "version" not in fields:
        marks.complain(root, "version", "is missing; write version: 1, and one more with each change")
    names = _Names(marks, t2s)
    for place, node in enumerate(marks.items(fields.get("merge"), "merge")):
        names.merge(node, f"merge[{place}]")
    for place, node in enumerate(marks.items(fields.get("split"), "split")):
        names.split(node, f"split[{place}]")
    names.refuse_chains()
    if marks.errors:
        return "", marks.errors
    aliases = merged(names.groups(), number)
    try:
        aliases.check()
    except AliasError as error:  # nothing above lets this happen; the core would refuse it
        return "", [f"{path}: {error}"]
    payload = aliases.to_payload()
    try:
        codec.encode(Control(topic="aliases", version=number, payload=payload))
    except codec.CodecError as error:
        return "", [f"{path}: too large ({error}). Shorten the ids, or leave out names that are never written."]
    return payload, []


def version(payload: str) -> int:
    """The version of an alias payload that ``load`` gave."""
    return int(json.loads(payload)["version"])


class _Names:
    """Name → (canonical id, where it was said)."""

    def __init__(self, marks: Marks, t2s: T2s) -> None:
        self._marks = marks
        self._t2s = t2s
        self._of: dict[str, tuple[str, yaml.Node, str]] = {}
        self._canonical: dict[str, str] = {}

    def merge(self, node: yaml.Node, at: str) -> None:
        """One entry of ``merge``."""
        fields = self._marks.mapping(node, at, ("entity", "names"))
        entity = self._entity(node, fields.get("entity"), f"{at}.entity")
        if not entity:
            return
        if entity in self._canonical:
            self._marks.complain(node, f"{at}.entity", f"{entity} is already merged in {self._canonical[entity]}")
        self._canonical.setdefault(entity, at)
        for number, item in enumerate(self._listed(node, fields.get("names"), f"{at}.names")):
            self._add(entity, item, f"{at}.names[{number}]")

    def split(self, node: yaml.Node, at: str) -> None:
        """One entry of ``split``."""
        fields = self._marks.mapping(node, at, ("from", "names"))
        entity = self._entity(node, fields.get("from"), f"{at}.from")
        for number, item in enumerate(self._listed(node, fields.get("names"), f"{at}.names")):
            name = _name(self._marks.text(item, f"{at}.names[{number}]"), self._t2s)
            if name and entity and self._of.get(name, ("",))[0] != entity:
                self._marks.complain(item, f"{at}.names[{number}]", f"{_shown(name)} is not merged into {entity}")
            self._of.pop(name, None)

    def refuse_chains(self) -> None:
        """Complain of entities that are themselves names of another."""
        for name, (target, node, at) in self._of.items():
            if name in self._canonical and name != target:
                back = self._of.get(target, ("",))[0] == name
                problem = "merges in a circle" if back else "has names of its own; merge these into the same entity"
                self._marks.complain(node, at, f"{name} is merged into {target}, but {problem}")

    def groups(self) -> dict[str, list[str]]:
        """Canonical id → names."""
        found: dict[str, list[str]] = {}
        for name, (target, _, _) in self._of.items():
            found.setdefault(target, []).append(name)
        return found

    def _add(self, entity: str, node: yaml.Node, at: str) -> None:
        name = _name(self._marks.text(node, at), self._t2s)
        if not name:
            return
        if name in self._of:
            self._marks.complain(node, at, f"{_shown(name)} is already merged into {self._of[name][0]}")
        elif len(self._of) >= NAMES_MAX:
            self._marks.complain(node, at, f"a file may hold {NAMES_MAX} names")
        else:
            self._of[name] = (entity, node, at)

    def _entity(self, parent: yaml.Node, node: yaml.Node | None, at: str) -> str:
        if node is None:
            self._marks.complain(parent, at, "is missing")
            return ""
        name = _name(self._marks.text(node, at), self._t2s)
        if name.startswith(f"{ANY_TYPE}/"):
            self._marks.complain(node, at, f'"{_shown(name)}" names no type; write e.g. LOC/{_shown(name)}')
            return ""
        return name

    def _listed(self, parent: yaml.Node, node: yaml.Node | None, at: str) -> list[yaml.Node]:
        if node is None:
            self._marks.complain(parent, at, "is missing")
        return self._marks.items(node, at)


def _name(written: str, t2s: T2s) -> str:
    """``LOC/沪`` or ``沪`` as it stands in the payload; empty for an empty text."""
    return named(written, t2s, ANY_TYPE) if written else ""


def _shown(name: str) -> str:
    return name.removeprefix(f"{ANY_TYPE}/")
