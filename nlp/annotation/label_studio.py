"""Label Studio: tasks as JSON, ``data`` with text and pictures, the model's ``predictions``, people's ``annotations``.

``end`` is behind the last character. Releases before 2021's fix (heartexlabs/label-studio#1008) count UTF-16 units, and
line ends have moved places since; as each mark tells its surface, a place that does not fit it is tried as UTF-16,
and else refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import msgspec

from nlp.annotation.files import contents
from nlp.annotation.offsets import from_utf16
from nlp.annotation.records import AnnotationError, Drawn, Marked, Prediction, problem
from nlp.labels import Chunk


class _Value(msgspec.Struct, frozen=True):
    start: int | str = -1
    end: int | str = -1
    text: str | None = None
    labels: list[str] = []


class _Result(msgspec.Struct, frozen=True):
    type: str = ""
    value: _Value = _Value()


class _Person(msgspec.Struct, frozen=True):
    id: int | None = None
    email: str | None = None


class _Annotation(msgspec.Struct, frozen=True):
    result: list[dict[str, Any]] = []
    completed_by: int | str | _Person | None = None
    was_cancelled: bool = False


class _Data(msgspec.Struct, frozen=True):
    text: str
    post: str


class _Task(msgspec.Struct, frozen=True):
    data: _Data
    id: int | None = None
    annotations: list[_Annotation] | None = None


def export(batch: Iterable[Drawn], *, prefill: bool, picture_url: str = "") -> bytes:
    """The tasks to import. ``picture_url`` stands before the name of each picture, e.g. ``http://host/pictures/``."""
    tasks = []
    for drawn in batch:
        data: dict[str, Any] = {
            "text": drawn.text, "post": drawn.id, "pictures": [picture_url + name for name in drawn.pictures]
        }  # fmt: skip
        task: dict[str, Any] = {"data": data}
        if prefill:
            least = min((one.confidence for one in drawn.predictions), default=1.0)
            result = [_result(number, one, drawn.text) for number, one in enumerate(drawn.predictions)]
            task["predictions"] = [{"model_version": drawn.model, "score": least, "result": result}]
        tasks.append(task)
    return msgspec.json.format(msgspec.json.encode(tasks), indent=1)


def _result(number: int, one: Prediction, text: str) -> dict[str, Any]:
    return {
        "id": f"p{number}", "from_name": "label", "to_name": "text", "type": "labels", "score": one.confidence,
        "value": {"start": one.start, "end": one.end, "text": text[one.start : one.end], "labels": [one.type]},
    }  # fmt: skip


def interface(types: Collection[str], *, pictures: bool) -> bytes:
    """The labelling interface (XML) for ``types``, to be pasted into the project's settings."""
    labels = "\n".join(f"    <Label value={quoteattr(type_)}/>" for type_ in types)
    shown = '  <Image name="pictures" valueList="$pictures"/>\n' if pictures else ""
    text = '  <Text name="text" value="$text" granularity="symbol"/>\n'
    whole = f'<View>\n  <Labels name="label" toName="text">\n{labels}\n  </Labels>\n{text}{shown}</View>\n'
    return whole.encode()


def read(
    path: Path, batch: Mapping[str, Drawn], types: Collection[str], annotator: str | None = None
) -> Iterator[tuple[str, Marked]]:
    """(``file, task``, what was marked) of each annotation that was not cancelled.

    The annotator is ``annotator``, else the address or number of who completed it. Raises ``AnnotationError``.
    """
    try:
        tasks = msgspec.json.decode(contents(path).removeprefix(b"\xef\xbb\xbf"), type=list[_Task])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: {error}; export the project as JSON (not JSON-MIN)") from error
    for number, task in enumerate(tasks, 1):
        place = f"{path}, task {number if task.id is None else task.id}"
        id_ = task.data.post
        if id_ not in batch:
            raise AnnotationError(f"{place}: post {id_!r} is not in the batch")
        if task.data.text != batch[id_].text:
            raise AnnotationError(f"{place}: the text of post {id_!r} was changed; places would mean nothing")
        if task.annotations is None:
            raise AnnotationError(f'{place}: no "annotations"; export the project as JSON (not JSON-MIN)')
        for nth, one in enumerate(task.annotations, 1):
            if not one.was_cancelled:
                at = f"{place}, annotation {nth}"
                chunks = _chunks(at, batch[id_].text, one, types)
                yield at, Marked(id_, annotator or _name(at, one), chunks)


def _name(place: str, one: _Annotation) -> str:
    by = one.completed_by
    name = (by.email or by.id) if isinstance(by, _Person) else by
    if name is None or name == "":
        raise AnnotationError(f"{place}: nobody knows who made it; name them with --annotator")
    return str(name)


def _chunks(place: str, text: str, one: _Annotation, types: Collection[str]) -> tuple[Chunk, ...]:
    found = []
    for raw in one.result:
        if raw.get("type") != "labels":
            continue  # relations, choices and what else a project may ask
        try:
            value = msgspec.convert(raw, _Result, strict=False).value
        except msgspec.ValidationError as error:
            raise AnnotationError(f"{place}: {error}") from error
        if len(value.labels) != 1:
            raise AnnotationError(f"{place}: {len(value.labels)} labels at {value.start}..{value.end}; one is expected")
        found.append(Chunk(*_placed(place, text, value), value.labels[0]))
    wrong = problem(text, found, types)
    if wrong:
        raise AnnotationError(f"{place}: {wrong}")
    return tuple(sorted(found))


def _placed(place: str, text: str, value: _Value) -> tuple[int, int]:
    try:
        start, end = int(value.start), int(value.end)
    except ValueError as error:
        raise AnnotationError(f"{place}: {value.start!r}..{value.end!r} is no place in a plain text") from error
    # Line breaks come back as \n in two characters from some releases.
    surface = None if value.text is None else value.text.replace("\\n", "\n")
    if value.text is None or (0 <= start and text[start:end] in (value.text, surface)):
        return start, end
    first, last = from_utf16(text, start), from_utf16(text, end)
    if first is not None and last is not None and text[first:last] in (value.text, surface):
        return first, last
    there = text[max(0, start) : max(0, end)][:40]
    raise AnnotationError(f"{place}: {start}..{end} should be {value.text[:40]!r}, but is {there!r}")
