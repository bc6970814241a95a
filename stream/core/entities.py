"""From a surface in a text to the entity that is counted: raw key, then canonical id by the aliases in force."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

ANY_TYPE: Final = "*"
_CORE: Final = " \t\r\n#＃@＠《》〈〉「」『』【】“”‘’\"'"
_SPACES: Final = re.compile(r"\s+")


class AliasError(ValueError):
    """An alias payload that cannot be used."""


def raw_key(surface: str, *, t2s: Callable[[str], str]) -> str:
    """``surface`` as a key: NFKC, simplified by ``t2s``, case-folded, without the marks around it, single spaces.

    ``#`` of hashtags, ``@``, brackets and quotes around are no part of a name; inside they stay. A surface that is
    nothing but such marks keeps them, so that no key of a non-empty surface is empty. Idempotent when ``t2s`` is.
    """
    folded = unicodedata.normalize("NFKC", surface)
    folded = unicodedata.normalize("NFKC", t2s(folded).casefold())
    visible = "".join(char for char in folded if unicodedata.category(char) not in ("Cf", "Cc") or char.isspace())
    spaced = _SPACES.sub(" ", visible).strip()
    return spaced.strip(_CORE) or spaced or surface.strip() or surface


def entity_id(kind: str, key: str) -> str:
    """The id of the entity of type ``kind`` named ``key``, e.g. ``PER/张三``."""
    return f"{kind}/{key}"


def split_id(entity: str) -> tuple[str, str]:
    """(type, key) of an entity id; the key may itself hold slashes."""
    kind, _, key = entity.partition("/")
    return kind, key


class Aliases(msgspec.Struct, frozen=True):
    """Names that mean one entity: entity id of a name, or ``*/key`` for a name of any type → canonical id.

    A typed entry goes before an entry for any type. Canonical ids are never themselves renamed: no chains, no cycles.
    """

    version: int = 0
    names: dict[str, str] = msgspec.field(default_factory=dict)

    def canonical(self, kind: str, key: str) -> str:
        """The canonical id of the name ``key`` of type ``kind``; its own id when nothing merges it."""
        own = entity_id(kind, key)
        if not self.names:
            return own
        found = self.names.get(own)
        return found if found is not None else self.names.get(entity_id(ANY_TYPE, key), own)

    @classmethod
    def from_payload(cls, payload: str) -> Aliases:
        """The aliases behind a Control's payload. Raises ``AliasError`` for one that ``to_payload`` never gives."""
        try:
            aliases = msgspec.json.decode(payload, type=cls)
        except msgspec.DecodeError as error:
            raise AliasError(f"no alias payload: {error}") from error
        aliases.check()
        return aliases

    def to_payload(self) -> str:
        """The payload of the Control record that puts these aliases in force; equal aliases give equal text."""
        return msgspec.json.encode(Aliases(self.version, dict(sorted(self.names.items())))).decode()

    def check(self) -> None:
        """Raise ``AliasError`` unless every name leads in one step to an entity that keeps its own name."""
        for name, target in self.names.items():
            if target != name and self.names.get(target, target) != target:
                raise AliasError(f"{name} is merged into {target}, which is merged into {self.names[target]}")
            if "/" not in name or "/" not in target or target.startswith(ANY_TYPE + "/"):
                raise AliasError(f"{name} → {target}: an entity is written TYPE/name")


def merged(groups: Mapping[str, list[str]], version: int) -> Aliases:
    """Aliases of ``groups``: canonical id → names (``TYPE/key`` or ``*/key``)."""
    return Aliases(version, {name: target for target, names in groups.items() for name in names if name != target})
