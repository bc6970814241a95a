"""YAML files whose errors name line and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import yaml

Shape = TypeVar("Shape")
FILE_BYTES_MAX: Final = 4_000_000


class Marked(msgspec.Struct, frozen=True):
    """Plain values, and the line (from 1) of each by its path, e.g. ``$.rules[0].windows``."""

    values: Any
    lines: dict[str, int]

    def line(self, path: str) -> int:
        """The line of ``path``, or of the nearest thing above it."""
        while path not in self.lines and path != "$":
            path = path[: max(path.rfind("."), path.rfind("["))] or "$"
        return self.lines.get(path, 1)


def read(path: Path) -> tuple[Marked | None, list[str]]:
    """The file's values with their lines, or what is wrong with it."""
    try:
        data = path.read_bytes()
        if len(data) > FILE_BYTES_MAX:
            return None, [f"{path}: larger than {FILE_BYTES_MAX} bytes"]
        text = data.decode("utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except OSError as error:
        return None, [f"{path}: cannot be read ({error.strerror})"]
    except UnicodeDecodeError as error:
        return None, [f"{path}: not UTF-8: {error}"]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return None, [f"{path}:{line}: no valid YAML: {error.problem}"]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return None, [f"{path}: no valid YAML: {error}"]
    lines: dict[str, int] = {}
    if node is not None:
        _mark(node, "$", lines)
    return Marked({} if values is None else values, lines), []


def shaped(marked: Marked, shape: type[Shape], path: Path) -> tuple[Shape | None, list[str]]:
    """The values as ``shape``, or the error with its line and field."""
    try:
        return msgspec.convert(marked.values, shape), []
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `")
        return None, [located(marked, path, where.rstrip("`") or "$", text)]


def located(marked: Marked, path: Path, where: str, text: str) -> str:
    """``file:line: field: text``."""
    return f"{path}:{marked.line(where)}: {where.removeprefix('$').removeprefix('.') or 'file'}: {text}"


def _mark(node: yaml.Node, where: str, lines: dict[str, int]) -> None:
    lines[where] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _mark(value, f"{where}.{key.value}", lines)
            lines[f"{where}.{key.value}"] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _mark(value, f"{where}[{number}]", lines)
