"""The pictures of one post: found in the line or in a folder, made small, kept within the post's budget.

Pictures known by URL only are not fetched here: their URL is kept and ``problem`` says so.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ingest.clean import ID_CHARS_MAX, EdgeSettings, RawPicture, Refusal
from ingest.fields import read_count
from ingest.images import small_picture
from stream.contract.records import Picture

_URL_CHARS_MAX: Final = 2048
NOT_FETCHED: Final = "not fetched"


def drawer(settings: EdgeSettings, folder: Path | None) -> Callable[[Sequence[RawPicture]], tuple[Picture, ...]]:
    """A function that makes a post's pictures; it blocks. Paths are taken inside ``folder`` only (None: not at all).

    The function raises ``Refusal`` for ill-typed fields; everything else that is wrong with a picture is told in
    its ``problem`` and never costs the post.
    """
    root = None if folder is None else Path(os.path.realpath(folder))

    def draw(raws: Sequence[RawPicture]) -> tuple[Picture, ...]:
        taken = raws[: settings.pictures_max]
        bytes_max = min(settings.picture_bytes_max, settings.pictures_bytes_max // max(1, len(taken)))
        pictures: list[Picture] = []
        names: set[str] = set()
        for number, raw in enumerate(taken, start=1):
            name = _distinct(_name(raw, number), number, names)
            pictures.append(_draw_one(raw, name, root, settings, bytes_max))
        if len(raws) > len(taken):
            problem = f"{len(raws) - len(taken)} more pictures were left out: a post may have {len(taken)}"
            pictures.append(Picture(id=_distinct("more", len(raws), names), problem=problem))
        return tuple(pictures)

    return draw


def _draw_one(raw: RawPicture, name: str, root: Path | None, settings: EdgeSettings, bytes_max: int) -> Picture:
    width, height = _pixels("width", raw.width), _pixels("height", raw.height)
    url = (raw.url or "").strip()
    if len(url) > _URL_CHARS_MAX:
        return Picture(id=name, width=width, height=height, problem="its URL is too long to keep")
    try:
        data = _bytes_of(raw, root, settings)
    except _NoPicture as problem:
        return Picture(id=name, url=url, width=width, height=height, problem=str(problem))
    picture = small_picture(data, name, url, settings, bytes_max)
    # What the source says of the original's size stands, above all when what it sends is a small copy.
    if width and height:
        return Picture(
            id=name, url=url, sha256=picture.sha256, width=width, height=height, jpeg=picture.jpeg,
            problem=picture.problem,
        )  # fmt: skip
    return picture


class _NoPicture(Exception):
    """There are no bytes; the text is the picture's ``problem``."""


def _bytes_of(raw: RawPicture, root: Path | None, settings: EdgeSettings) -> bytes:
    if raw.data:
        return _decoded(raw.data)
    if raw.path:
        return _read_inside(raw.path, root, settings.picture_file_bytes_max)
    raise _NoPicture(NOT_FETCHED if raw.url else "neither data, path nor url")


def _decoded(data: str) -> bytes:
    if data.startswith("data:"):
        data = data.partition(",")[2]
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise _NoPicture("data is not base64") from None


def _read_inside(path: str, root: Path | None, bytes_max: int) -> bytes:
    """The bytes of a regular file inside ``root``, wherever links lead. A post must not name ``/etc/passwd``."""
    if root is None:
        raise _NoPicture("a path means nothing here: pictures by path need a file beside them")
    try:
        real = Path(os.path.realpath(root / path))
        if not real.is_relative_to(root):
            raise _NoPicture("its path leads outside the folder of the posts")
        if not stat.S_ISREG(real.stat().st_mode):
            raise _NoPicture("its path is no file")
        with real.open("rb") as file:
            data = file.read(bytes_max + 1)
    except (OSError, ValueError) as error:
        raise _NoPicture(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > bytes_max:
        raise _NoPicture(f"its file has more than {bytes_max} bytes")
    return data


def _name(raw: RawPicture, number: int) -> str:
    """The source's id, else the stem of the file or URL (on Weibo that is the picture's id), else its number."""
    name = str(raw.id).strip() if raw.id is not None else ""
    if not name and raw.path:
        name = Path(raw.path).stem
    if not name and raw.url:
        try:
            name = Path(urlsplit(raw.url).path).stem
        except ValueError:
            name = ""
    if not name.isprintable():
        name = ""
    return name[:ID_CHARS_MAX] or f"p{number}"


def _distinct(name: str, number: int, names: set[str]) -> str:
    if name in names:
        name = f"{name[: ID_CHARS_MAX - 8]}~{number}"
    names.add(name)
    return name


def _pixels(field: str, value: str | int | float | None) -> int:
    try:
        return read_count(value)[0]
    except (ValueError, OverflowError) as error:
        raise Refusal("bad_field", f"pictures.{field}: {error}") from None
