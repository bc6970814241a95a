"""Doccano and Label Studio: what goes out comes back, and what cannot is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given

from nlp.annotation import doccano, label_studio
from nlp.annotation.files import checked, jsonl, read_batch, read_labels
from nlp.annotation.offsets import from_utf16, to_utf16
from nlp.annotation.records import AnnotationError, Drawn, Marked, Prediction
from nlp.labels import Chunk
from tests.annotation.posts import HOSTILE, TEXTS, drawn, posts

TYPES = ("LOC", "PER")
PLACE = HOSTILE.index("\u4e0a海")
UNITS = to_utf16(HOSTILE, PLACE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("formats")


def expected(batch: list[Drawn], annotator: str) -> list[Marked]:
    return [Marked(one.id, annotator, tuple(found.chunk for found in one.predictions)) for one in batch]


@given(TEXTS)
def test_places_go_to_utf16_and_back(text: str) -> None:
    for place in range(len(text) + 1):
        units = to_utf16(text, place)
        assert units == len(text[:place].encode("utf-16-le")) // 2 and from_utf16(text, units) == place
    assert from_utf16("👍", 1) is None and from_utf16(text, -1) is None and from_utf16("a", 2) is None


@given(posts())
def test_doccano_gives_back_what_it_was_given(folder: Path, batch: list[Drawn]) -> None:
    path = folder / "anna.jsonl"
    for utf16 in (False, True):
        path.write_bytes(doccano.export(batch, prefill=True, utf16=utf16))
        found = doccano.read(path, {one.id: one for one in batch}, TYPES, utf16=utf16)
        assert [one for _, one in found] == expected(batch, "anna")
    path.write_bytes(doccano.export(batch, prefill=False))
    assert not any(one.entities for _, one in doccano.read(path, {one.id: one for one in batch}, TYPES))


@given(posts())
def test_label_studio_gives_back_what_it_was_given(folder: Path, batch: list[Drawn]) -> None:
    path = folder / "tasks.json"
    tasks = json.loads(label_studio.export(batch, prefill=True))
    for task in tasks:
        task["annotations"] = [{"result": task.pop("predictions")[0]["result"], "completed_by": {"email": "b@c"}}]
    path.write_text(json.dumps(tasks), encoding="utf-8")
    known = {one.id: one for one in batch}
    assert [one for _, one in label_studio.read(path, known, TYPES)] == expected(batch, "b@c")
    assert "predictions" not in json.loads(label_studio.export(batch, prefill=False))[0]


@given(posts())
def test_batches_and_labels_are_read_as_they_were_written(folder: Path, batch: list[Drawn]) -> None:
    path, labels = folder / "batch.jsonl", folder / "labels.jsonl"
    path.write_bytes(jsonl(batch))
    labels.write_bytes(b"\xef\xbb\xbf" + jsonl(expected(batch, "anna")).replace(b"\n", b"\r\n\n"))
    known = read_batch([path])
    assert list(known.values()) == batch and read_labels([labels], known) == expected(batch, "anna")


def told_by_doccano(folder: Path, line: object, **more: Any) -> list[Marked]:
    path = folder / "anna.jsonl"
    path.write_text(line if isinstance(line, str) else json.dumps(line), encoding="utf-8")
    return [one for _, one in doccano.read(path, {"1": drawn(HOSTILE)}, TYPES, **more)]


def test_doccano_in_all_its_forms(folder: Path) -> None:
    chunk = [PLACE, PLACE + 2, "LOC"]
    entity = {"id": 1, "label": "LOC", "start_offset": PLACE, "end_offset": PLACE + 2}
    forms: tuple[dict[str, Any], ...] = (
        {"id": 7, "text": HOSTILE, "label": [chunk], "post": "1", "Comments": []},
        {"id": 7, "text": HOSTILE, "labels": [chunk], "meta": {"post": "1"}},
        {"id": 7, "text": HOSTILE, "entities": [entity], "relations": []},
    )
    for form in forms:
        assert told_by_doccano(folder, form) == [Marked("1", "anna", (Chunk(PLACE, PLACE + 2, "LOC"),))]
    assert told_by_doccano(folder, {**forms[0], "annotator": "ben"})[0].annotator == "ben"
    assert told_by_doccano(folder, {**forms[0], "annotator": "ben"}, annotator="cy")[0].annotator == "cy"
    old = {"text": HOSTILE, "label": [[UNITS, UNITS + 2, "LOC"]]}
    assert told_by_doccano(folder, old, utf16=True)[0].entities == (Chunk(PLACE, PLACE + 2, "LOC"),)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "truncated"),
        ('{"text": 5}', "Expected `str`"),
        ({"text": HOSTILE}, 'neither "label" nor "entities"'),
        ({"text": HOSTILE, "post": "9", "label": []}, "'9' is not in the batch"),
        ({"text": HOSTILE + " ", "post": "1", "label": []}, "text of post '1' was changed"),
        ({"text": "other", "label": []}, "no posts of the batch have this text"),
        ({"text": HOSTILE, "label": [[0, 1, "BAND"]]}, "unknown label 'BAND'; known are LOC, PER"),
        ({"text": HOSTILE, "label": [[0, 3, "PER"], [2, 4, "LOC"]]}, "overlap"),
        ({"text": HOSTILE, "label": [[0, 3, "PER"], [0, 3, "PER"]]}, "marked twice"),
        ({"text": HOSTILE, "label": [[2, 2, "PER"]]}, "0 <= start < end"),
        ({"text": HOSTILE, "label": [[0, 999, "PER"]]}, f"<= {len(HOSTILE)}"),
    ],
)  # fmt: skip
def test_doccano_names_file_line_and_reason(folder: Path, line: object, said: str) -> None:
    with pytest.raises(AnnotationError, match=r"anna\.jsonl:1: ") as caught:
        told_by_doccano(folder, line)
    assert said in str(caught.value)
    with pytest.raises(AnnotationError, match="no place in UTF-16"):
        told_by_doccano(folder, {"text": HOSTILE, "label": [[1, 2, "LOC"]]}, utf16=True)


def result(start: object, end: object, surface: str | None, *labels: str) -> dict[str, Any]:
    value: dict[str, Any] = {"start": start, "end": end, "labels": list(labels or ("LOC",))}
    return {"type": "labels", "value": value if surface is None else {**value, "text": surface}}


def told_by_studio(folder: Path, *results: dict[str, Any], **more: Any) -> list[Marked]:
    path = folder / "export.json"
    task = {"id": 4, "data": {"text": HOSTILE, "post": "1"}, "annotations": [{"result": results, "completed_by": 3}]}
    path.write_text(json.dumps([{**task, **more}]), encoding="utf-8")
    return [one for _, one in label_studio.read(path, {"1": drawn(HOSTILE)}, TYPES)]


def test_label_studio_counts_as_its_surface_says(folder: Path) -> None:
    wanted = [Marked("1", "3", (Chunk(PLACE, PLACE + 2, "LOC"),))]
    assert told_by_studio(folder, result(PLACE, PLACE + 2, "\u4e0a海")) == wanted
    assert told_by_studio(folder, result(UNITS, UNITS + 2, "\u4e0a海")) == wanted
    assert told_by_studio(folder, result(str(PLACE), PLACE + 2, None)) == wanted
    lines = HOSTILE.index("海\n")
    assert told_by_studio(folder, result(lines, lines + 2, "海\\n"))[0].entities == (Chunk(lines, lines + 2, "LOC"),)
    assert told_by_studio(folder, {"type": "choices", "value": {"choices": ["x"]}}) == [Marked("1", "3")]


def test_label_studio_has_several_annotators_and_cancelled_work(folder: Path) -> None:
    marked = {"result": [result(PLACE, PLACE + 2, None)]}
    found = told_by_studio(
        folder, annotations=[{**marked, "completed_by": 3}, {**marked, "completed_by": {"id": 4}}, 
                             {**marked, "completed_by": 5, "was_cancelled": True}],
    )  # fmt: skip
    assert [one.annotator for one in found] == ["3", "4"]


@pytest.mark.parametrize(
    ("results", "more", "said"),
    [
        ([result(0, 2, "\u4e0a海")], {}, "0..2 should be '\u4e0a海', but is"),
        ([result(-1, 2, None)], {}, "0 <= start < end"),
        ([result("/p[1]", 2, None)], {}, "no place in a plain text"),
        ([result(0, 2, None, "LOC", "PER")], {}, "2 labels"),
        ([result(0, 2, None, "BAND")], {}, "unknown label 'BAND'"),
        ([result(0, 3, None), result(1, 2, None)], {}, "overlap"),
        ([{"type": "labels", "value": 3}], {}, "Expected `object`"),
        ([], {"data": {"text": "x", "post": "1"}}, "text of post '1' was changed"),
        ([], {"data": {"text": "x", "post": "2"}}, "not in the batch"),
        ([], {"annotations": [{"result": []}]}, "--annotator"),
        ([], {"annotations": None}, "not JSON-MIN"),
    ],
)  # fmt: skip
def test_label_studio_names_file_task_and_reason(
    folder: Path, results: list[dict[str, Any]], more: dict[str, Any], said: str
) -> None:
    with pytest.raises(AnnotationError, match=r"export\.json, task 4") as caught:
        told_by_studio(folder, *results, **more)
    assert said in str(caught.value)


def test_the_interface_is_xml_with_the_labels() -> None:
    read = ElementTree.fromstring(label_studio.interface(['A"<&', "LOC"], pictures=True))
    assert [label.get("value") for label in read.iter("Label")] == ['A"<&', "LOC"]
    assert read.find("Image") is not None
    post = Drawn("1", "x", pictures=("1_0.jpg",))
    [task] = json.loads(label_studio.export([post], prefill=False, picture_url="http://host/p/"))
    assert task["data"]["pictures"] == ["http://host/p/1_0.jpg"]


def test_batches_and_labels_that_do_not_fit_are_told(tmp_path: Path) -> None:
    path = tmp_path / "batch.jsonl"
    for batch, said in (
        ([drawn("ab"), drawn("cd")], "batch.jsonl:2: post '1' is there twice"),
        ([drawn("ab", Prediction(1, 5, "PER"))], "batch.jsonl:1: PER at 1..5"),
        ([Drawn("1", "a", probability=0.0)], "probability"),
        ([], "no posts"),
    ):
        path.write_bytes(jsonl(batch))
        with pytest.raises(AnnotationError, match=r"batch\.jsonl") as caught:
            read_batch([path])
        assert said in str(caught.value)
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_batch([tmp_path / "none"])
    known = {"1": drawn("abc")}
    for answers, said in (
        ([Marked("2", "a")], "not in the batch"),
        ([Marked("1", " ")], "without a name"),
        ([Marked("1", "a", (Chunk(0, 9, "PER"),))], "annotator a: PER at 0..9"),
        ([Marked("1", "a"), Marked("1", "a")], "labelled post '1' before, in at 0"),
        ([], "no labels"),
    ):
        with pytest.raises(AnnotationError) as caught:
            checked(((f"at {number}", one) for number, one in enumerate(answers)), known)
        assert said in str(caught.value)
