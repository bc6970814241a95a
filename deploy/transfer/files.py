"""A data set in a file, Parquet or JSON lines: written and read in bounded memory.

The only file that knows ``pyarrow``.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, get_args

import msgspec

from deploy.errors import Failure
from deploy.transfer.items import Item, Kind, Shape
from index.present import iso

Form = Literal["parquet", "jsonl"]
SUFFIXES: Final[dict[Form, str]] = {"parquet": ".parquet", "jsonl": ".jsonl.gz"}
GROUP_ROWS: Final = 5_000
GROUP_BYTES: Final = 16_000_000
"""Items that are held at once; a row group of Parquet."""


def write(path: Path, kind: Kind, items: Iterable[Item]) -> Iterator[int]:
    """Write ``items`` of ``kind`` to ``path``, whose name says in which form; yields how many at a time."""
    writing = _write_parquet if path.name.endswith(SUFFIXES["parquet"]) else _write_lines
    return writing(path, kind, groups(items))


def read(path: Path, kind: Kind) -> Iterator[Item]:
    """The items that ``write`` was given."""
    return _read_parquet(path, kind) if path.name.endswith(SUFFIXES["parquet"]) else _read_lines(path, kind)


def groups(items: Iterable[Item]) -> Iterator[list[Item]]:
    """``items`` in parts of at most ``GROUP_ROWS``, and about ``GROUP_BYTES``."""
    held: list[Item] = []
    size = 0
    for item in items:
        held.append(item)
        size += sum(len(value) for value in msgspec.structs.astuple(item) if isinstance(value, bytes | str))
        if len(held) == GROUP_ROWS or size >= GROUP_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held


# --- JSON lines --------------------------------------------------------------------------------------------------


def _write_lines(path: Path, kind: Kind, parts: Iterable[list[Item]]) -> Iterator[int]:
    times = [name for name, shape in kind.shown.items() if shape == "time"]
    encoder = msgspec.json.Encoder()
    # No name and no time in the header: the same items make the same bytes.
    with path.open("wb") as file, gzip.GzipFile("", "wb", 6, file, 0) as out:
        for part in parts:
            lines = []
            for item in part:
                shown = kind.show(item)
                shown |= {name: iso(shown[name]) for name in times}
                lines.append(encoder.encode({**shown, **msgspec.structs.asdict(item)}) + b"\n")
            out.write(b"".join(lines))
            yield len(part)


def _read_lines(path: Path, kind: Kind) -> Iterator[Item]:
    decoder: msgspec.json.Decoder[Item] = msgspec.json.Decoder(kind.item)
    with gzip.open(path, "rb") as lines:
        for line in lines:
            yield decoder.decode(line)


# --- Parquet -----------------------------------------------------------------------------------------------------


def _write_parquet(path: Path, kind: Kind, parts: Iterable[list[Item]]) -> Iterator[int]:
    arrow, parquet = _pyarrow()
    fields = {field.name: field.type for field in msgspec.structs.fields(kind.item)}
    columns = {name: _arrow_shape(arrow, shape) for name, shape in kind.shown.items()}
    columns |= {name: _arrow_type(arrow, type_) for name, type_ in fields.items()}
    schema = arrow.schema(list(columns.items()))
    with parquet.ParquetWriter(path, schema, compression="zstd") as out:
        for part in parts:
            rows = [{**kind.show(item), **msgspec.structs.asdict(item)} for item in part]
            out.write_table(arrow.Table.from_pylist(rows, schema=schema), row_group_size=GROUP_ROWS)
            yield len(part)


def _read_parquet(path: Path, kind: Kind) -> Iterator[Item]:
    _, parquet = _pyarrow()
    names: Sequence[str] = kind.item.__struct_fields__
    with parquet.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            for row in file.read_row_group(group, columns=list(names)).to_pylist():
                yield kind.item(**row)


def _arrow_shape(arrow: Any, shape: Shape) -> Any:
    if shape == "texts":
        return arrow.list_(arrow.string())
    if shape == "time":
        return arrow.timestamp("ms", tz="UTC")
    return {"text": arrow.string(), "int": arrow.int64(), "float": arrow.float64()}[shape]


def _arrow_type(arrow: Any, type_: Any) -> Any:
    if isinstance(type_, UnionType):
        type_ = get_args(type_)[0]
    return {str: arrow.string(), int: arrow.int64(), bytes: arrow.binary()}[type_]


def check_form(form: Form) -> None:
    """Raise ``Failure`` when what ``form`` needs is not installed."""
    if form == "parquet":
        _pyarrow()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise Failure(
            "Parquet needs pyarrow. Install: pip install 'weibowatch[transfer]'; or export with: --format jsonl"
        ) from error
    return pyarrow, pyarrow.parquet
