"""The wire form: old bytes stay readable, what is no record is refused, nothing crashes the reader."""

import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.contract import codec, records
from stream.contract.codec import RECORD_BYTES_MAX, VERSION, CodecError, decode, encode
from stream.contract.records import REASONS, AnyRecord, Post, Reject
from tests.contract.golden.write import FOLDER, RECORDS

GOLDEN: dict[str, str] = json.loads((FOLDER / f"v{VERSION}.json").read_text())


@pytest.mark.parametrize("name", GOLDEN)
def test_the_golden_bytes_are_read_and_written_unchanged(name: str) -> None:
    data = bytes.fromhex(GOLDEN[name])
    assert decode(data) == RECORDS[name]
    assert encode(RECORDS[name]) == data


OLDER: dict[str, str] = json.loads((FOLDER / f"v{VERSION}-older.json").read_text())
"""Written before a part of the record grew beyond fifteen fields, for which MessagePack has another header."""


@pytest.mark.parametrize("name", OLDER)
def test_older_bytes_of_the_same_version_are_read(name: str) -> None:
    assert OLDER[name] != GOLDEN[name]
    assert decode(bytes.fromhex(OLDER[name])) == RECORDS[name]


def test_every_kind_has_a_golden_record() -> None:
    assert {type(record) for record in RECORDS.values()} == set(get_args(AnyRecord))
    assert GOLDEN.keys() == RECORDS.keys()


def test_the_golden_records_leave_no_field_at_its_default() -> None:
    for kind in get_args(AnyRecord):
        records = [record for record in RECORDS.values() if type(record) is kind]
        for field in msgspec.structs.fields(kind):
            if field.default is not msgspec.NODEFAULT:
                told = [getattr(record, field.name) for record in records]
                assert any(value != field.default for value in told), f"{kind.__name__}.{field.name}"


@pytest.mark.parametrize("version", [n for n in range(256) if n != VERSION])
def test_an_unknown_version_is_told(version: int) -> None:
    with pytest.raises(CodecError) as caught:
        decode(bytes((version,)) + bytes.fromhex(GOLDEN["reach"])[1:])
    assert caught.value.reason == "unknown_version" and str(version) in str(caught.value)


@pytest.mark.parametrize("name", GOLDEN)
def test_truncated_and_trailing_bytes_are_refused(name: str) -> None:
    data = bytes.fromhex(GOLDEN[name])
    for end in range(len(data)):
        with pytest.raises(CodecError) as caught:
            decode(data[:end])
        assert caught.value.reason in REASONS
    with pytest.raises(CodecError):
        decode(data + b"\x00")


def refused_or_record(data: bytes) -> None:
    try:
        record = decode(data)
    except CodecError as error:
        assert error.reason in REASONS and str(error)
    else:
        assert isinstance(record, records.Record)


@given(st.binary(max_size=300))
@example(b"")
@example(bytes((VERSION,)))
@example(bytes((VERSION, 0xC0)))
def test_garbage_is_refused(data: bytes) -> None:
    refused_or_record(data)
    refused_or_record(bytes((VERSION,)) + data)


@given(st.sampled_from(sorted(GOLDEN)), st.data())
def test_flipped_bytes_are_refused_or_give_a_record(name: str, data: st.DataObject) -> None:
    raw = bytearray.fromhex(GOLDEN[name])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    refused_or_record(bytes(raw))


def test_deep_nesting_in_a_field_of_the_future_is_refused() -> None:
    deep = b"\x82" + msgspec.msgpack.encode("kind") + msgspec.msgpack.encode("end")
    deep += msgspec.msgpack.encode("new") + b"\x91" * 200_000 + b"\xc0"
    refused_or_record(bytes((VERSION,)) + deep)


def test_fields_of_the_future_are_ignored() -> None:
    value: dict[str, Any] = {"kind": "end", "source": "s", "through_ms": 1, "new": [{"x": 1}]}
    data = bytes((VERSION,)) + msgspec.msgpack.encode(value)
    assert decode(data) == records.End(source="s", through_ms=1)


_texts = st.text(max_size=30)
_ints = st.integers(-(2**63), 2**63 - 1)


@given(_texts, _texts, _ints, st.binary(max_size=50))
def test_any_values_survive_the_wire(text: str, other: str, number: int, raw: bytes) -> None:
    post = Post(id=other, source="s", author="a", created_ms=number, observed_ms=number, text=text, root_id=other)
    reject = Reject(source=other, reason="empty", detail=text, raw=raw, observed_ms=number)
    assert decode(encode(post)) == post
    assert decode(encode(reject)) == reject


def test_a_record_beyond_the_limit_is_refused() -> None:
    with pytest.raises(CodecError) as caught:
        encode(Reject(source="s", reason="empty", detail="", raw=b"x" * RECORD_BYTES_MAX))
    assert caught.value.reason == "too_large"
    assert codec.RECORD_BYTES_MAX == 1_000_000
