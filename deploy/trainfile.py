"""The file of ``weibowatch train``: YAML, then ``--set``, checked against the settings of a run; and that run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import msgspec.inspect
import yaml

from deploy.errors import UsageFailure

T = TypeVar("T")
_PLACE = re.compile(r"(.*) - at `\$\.?(.*)`$", re.DOTALL)
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+|\.\.\.)\]")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers: to PyYAML ``2e-5`` is text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read(path: Path) -> dict[str, Any]:
    """The file as plain values. Raises ``UsageFailure``."""
    try:
        tree = _parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageFailure(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageFailure(f"{path}: no valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise UsageFailure(f"{path}: expected fields such as family: bilstm; see nlp/configs for examples")
    return tree


def put(tree: dict[str, Any], assignments: Iterable[str]) -> None:
    """Set ``key.key.0.key=value`` in ``tree``; the value is YAML. Raises ``UsageFailure``."""
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageFailure(f"--set {text}: write --set loop.epochs=5")
        try:
            _put(tree, name.split("."), _parsed(value))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise UsageFailure(f"--set {text}: there is no place {name!r} in this configuration") from error
        except yaml.YAMLError as error:
            raise UsageFailure(f"--set {text}: the value is no valid YAML") from error


def _parsed(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


def _put(tree: Any, keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        if isinstance(tree, dict) and tree.get(key) is None:  # not there, or empty, as after "model:"
            tree[key] = {}
        tree = tree[int(key)] if isinstance(tree, list) else tree[key]
    if isinstance(tree, list):
        tree[int(keys[-1])] = value
    else:
        tree[keys[-1]] = value


def settings_of(tree: dict[str, Any], kind: type[T], where: str) -> T:
    """The settings in ``tree``. Raises ``UsageFailure``, which names the field and what may stand there."""
    try:
        return msgspec.convert(tree, kind)
    except msgspec.ValidationError as error:
        found = _PLACE.match(str(error))
        message, place = (found[1], found[2]) if found else (str(error), "")
        allowed = _allowed(msgspec.inspect.type_info(kind), [a or b for a, b in _STEP.findall(place)], tree)
        raise UsageFailure(f"{where}: {place + ': ' if place else ''}{message}{allowed}") from error


def _allowed(kind: Any, steps: list[str], value: Any) -> str:
    """What the type at the end of ``steps`` takes: fields or values; nothing where that cannot be said."""
    if isinstance(kind, msgspec.inspect.UnionType):
        tags = [str(one.tag) for one in kind.types if isinstance(one, msgspec.inspect.StructType) and one.tag]
        if tags and steps == [_tag_field(kind)]:
            return f"; it is one of: {', '.join(sorted(tags))}"
        known = [_allowed(one, steps, value) for one in kind.types if _fits(one, value)]
        return next(filter(None, known), "")
    if not steps:
        if isinstance(kind, msgspec.inspect.StructType):
            return f"; fields are: {', '.join(field.encode_name for field in kind.fields)}"
        if isinstance(kind, msgspec.inspect.LiteralType):
            return f"; it is one of: {', '.join(str(one) or chr(39) * 2 for one in kind.values)}"
        return ""
    step, *rest = steps
    if isinstance(kind, msgspec.inspect.StructType):
        inner = next((field.type for field in kind.fields if field.encode_name == step), None)
        return _allowed(inner, rest, value.get(step) if isinstance(value, dict) else None) if inner else ""
    if isinstance(kind, msgspec.inspect.VarTupleType):
        inside = value[int(step)] if isinstance(value, list) and step.isdigit() and int(step) < len(value) else None
        return _allowed(kind.item_type, rest, inside)
    return ""


def _tag_field(kind: msgspec.inspect.UnionType) -> str:
    return next((one.tag_field or "" for one in kind.types if isinstance(one, msgspec.inspect.StructType)), "")


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value may be meant for one of several kinds: those of one field tell themselves apart by a tag."""
    if not isinstance(kind, msgspec.inspect.StructType) or kind.tag_field is None or not isinstance(value, dict):
        return not isinstance(kind, msgspec.inspect.NoneType)
    return bool(value.get(kind.tag_field) == kind.tag)


def written(tree: dict[str, Any]) -> str:
    """The tree as a file that ``read`` reads."""
    return yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)


def work_of(tree: dict[str, Any], where: str) -> Callable[..., Any]:
    """The run of the family that ``tree`` names, to be called with a folder, a ``Report`` and ``resume=``.

    Raises ``UsageFailure`` that names the place in ``where``, and ``ImportError`` without what training needs.
    """
    if tree.get("family") == "towers":
        from nlp.towers.run import train
        from nlp.towers.settings import TowersSettings

        own = dict(tree)
        if own.pop("device", "auto") not in ("auto", "cpu"):
            raise UsageFailure("device: the family towers trains on the CPU, where it is made for")
        return partial(train, settings_of(own, TowersSettings, where))
    from nlp.training.config import TrainSettings
    from nlp.training.run import run

    return partial(run, settings_of(tree, TrainSettings, where))
