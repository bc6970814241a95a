"""YAML read so that every complaint names the line and the field.

Values are taken from the node graph of ``yaml.compose``, which keeps positions; nothing is ever constructed from tags.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import yaml

FILE_BYTES_MAX: Final = 1_000_000
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d|w)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_QUOTED_MAX: Final = 40


class Marks:
    """One YAML file being read; what is wrong gathers in ``errors``, in the order of the file."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._errors: list[tuple[int, str]] = []

    @property
    def errors(self) -> list[str]:
        """Everything wrong so far, each as ``file:line: field: what is wrong``."""
        return [text for _, text in sorted(self._errors, key=lambda one: one[0])]

    def complain(self, node: yaml.Node | None, field: str, problem: str, lines_below: int = 0) -> None:
        """``problem`` at the place of ``node``, or so many lines below its beginning."""
        line = node.start_mark.line + 1 + lines_below if node is not None else 1
        self._errors.append((line, f"{self._name}:{line}: {field + ': ' if field else ''}{problem}"))

    # --- structure ---------------------------------------------------------------------------------------------

    def root(self, path: Path) -> yaml.Node | None:
        """The document in ``path``, None when it cannot be read."""
        try:
            if path.stat().st_size > FILE_BYTES_MAX:
                self.complain(None, "", f"the file is larger than {FILE_BYTES_MAX} bytes")
                return None
            text = path.read_text(encoding="utf-8-sig")
            node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
        except OSError as error:
            self.complain(None, "", f"cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            self.complain(None, "", "is not UTF-8; save it as UTF-8")
        except yaml.YAMLError as error:
            self._complain_of_syntax(error)
        except RecursionError:
            self.complain(None, "", "is nested too deeply")
        else:
            if node is None:
                self.complain(None, "", "is empty")
            return node
        return None

    def _complain_of_syntax(self, error: yaml.YAMLError) -> None:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "no valid YAML"
        self._errors.append((line, f"{self._name}:{line}: no valid YAML: {problem}"))

    def mapping(
        self, node: yaml.Node | None, field: str, known: Iterable[str], later: Mapping[str, str] | None = None
    ) -> dict[str, yaml.Node]:
        """Key → node of a mapping with the ``known`` keys; ``later``: keys that get a message of their own."""
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.complain(node, field, f"{_shown(node)} is no mapping; write key: value lines")
            return {}
        known, found = tuple(known), dict[str, yaml.Node]()
        for key_node, value in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            place = f"{field}.{key}" if field else key
            if later and key in later:
                self.complain(key_node, place, later[key])
            elif key not in known:
                self.complain(key_node, place, _unknown(key, known))
            elif key in found:
                self.complain(key_node, place, "is given twice")
            else:
                found[key] = value
        return found

    def items(self, node: yaml.Node | None, field: str) -> list[yaml.Node]:
        """The nodes of a list."""
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.complain(node, field, f"{_shown(node)} is no list; write [a, b] or lines that begin with '- '")
            return []
        return list(node.value)

    # --- values ------------------------------------------------------------------------------------------------

    def text(self, node: yaml.Node | None, field: str, default: str = "") -> str:
        """A non-empty text; numbers and words like ``yes`` are taken as written."""
        if node is None:
            return default
        if not isinstance(node, yaml.ScalarNode) or node.tag.endswith(":null") or not str(node.value).strip():
            self.complain(node, field, f"{_shown(node)} is no text")
            return default
        return str(node.value).strip()

    def texts(self, node: yaml.Node | None, field: str) -> tuple[str, ...]:
        """A list of texts; one text alone is a list of one."""
        if isinstance(node, yaml.ScalarNode):
            return (self.text(node, field),)
        return tuple(self.text(item, f"{field}[{n}]") for n, item in enumerate(self.items(node, field)))

    def choice(self, node: yaml.Node | None, field: str, allowed: tuple[str, ...], default: str) -> str:
        """One of ``allowed``."""
        value = self.text(node, field, default)
        if value not in allowed:
            self.complain(node, field, f'"{value}" is not known; write {" or ".join(allowed)}')
            return default
        return value

    def flag(self, node: yaml.Node | None, field: str, default: bool) -> bool:
        """``true`` or ``false``."""
        if node is None:
            return default
        return self.choice(node, field, ("true", "false"), "false") == "true"

    def number(self, node: yaml.Node | None, field: str, default: float, low: float, high: float = math.inf) -> float:
        """A number in [low, high]."""
        if node is None:
            return default
        try:
            value = float(str(node.value)) if isinstance(node, yaml.ScalarNode) else math.nan
        except ValueError:
            value = math.nan
        if not low <= value <= high or math.isinf(value):
            upper = f" to {high:g}" if high < math.inf else " or more"
            self.complain(node, field, f"{_shown(node)} will not do; write a number, {low:g}{upper}")
            return default
        return value

    def whole(self, node: yaml.Node | None, field: str, default: int, low: int, high: float = math.inf) -> int:
        """A whole number in [low, high]."""
        value = self.number(node, field, default, low, high)
        if value != int(value):
            self.complain(node, field, f"{value:g} is no whole number")
            return default
        return int(value)

    def duration_s(self, node: yaml.Node | None, field: str, default: float) -> float:
        """A duration such as ``5m``, in seconds."""
        if node is None:
            return default
        match = _DURATION.fullmatch(str(node.value).strip()) if isinstance(node, yaml.ScalarNode) else None
        if match is None:
            self.complain(node, field, f"{_shown(node)} is no duration; write e.g. 5m, 1h, 7d")
            return default
        return float(match[1]) * _SECONDS[match[2]]


def _shown(node: yaml.Node) -> str:
    """What stands there, for people."""
    if isinstance(node, yaml.ScalarNode):
        value = str(node.value)
        return f'"{value[:_QUOTED_MAX]}{"…" if len(value) > _QUOTED_MAX else ""}"'
    return "a mapping" if isinstance(node, yaml.MappingNode) else "a list"


def _unknown(key: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    if near:
        return f"is not known; did you mean {near[0]}?"
    return f"is not known; known here: {', '.join(known)}"
