"""The pictures of a status, in the three shapes that Weibo gives them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, Protocol

from ingest.clean import RawPicture
from ingest.fields import is_scalar

PICTURES_MAX: Final = 200
_PICTURE_URL: Final = "https://wx1.sinaimg.cn/large/{}.jpg"
_PICTURE_ID: Final = re.compile(r"[0-9A-Za-z]{16,40}", re.ASCII)
_SIZES: Final = ("largest", "large", "mw2000", "original", "bmiddle", "thumbnail")


class Status(Protocol):
    """The fields that tell of pictures; each may hold anything."""

    pics: Any
    pic_ids: Any
    pic_infos: Any
    mix_media_info: Any


def pictures(status: Status) -> Iterator[RawPicture]:
    """In the order of the post, each once; of the three shapes the one that tells the most."""
    mixed = status.mix_media_info.get("items") if isinstance(status.mix_media_info, dict) else None
    chosen: list[RawPicture] = []
    if isinstance(mixed, list) and mixed:
        chosen = [found for one in mixed if (found := _mixed(one))]
    elif isinstance(status.pic_infos, dict) and status.pic_infos:
        ids = status.pic_ids if isinstance(status.pic_ids, list) else []
        order = [one for one in ids if isinstance(one, str) and one in status.pic_infos] or [*status.pic_infos]
        chosen = [found for one in order if (found := _sized(one, status.pic_infos[one]))]
    elif isinstance(status.pics, dict | list) and status.pics:
        rows = status.pics.values() if isinstance(status.pics, dict) else status.pics
        chosen = [found for one in rows if (found := _card_picture(one))]
    if not chosen and isinstance(status.pic_ids, list):
        chosen = [found for one in status.pic_ids if (found := _named(one))]
    once = {picture.id: picture for picture in reversed(chosen)}
    return iter([*reversed(once.values())][:PICTURES_MAX])


def _mixed(item: Any) -> RawPicture | None:
    if not isinstance(item, dict) or item.get("type") not in ("pic", "gif", "livephoto"):
        return None
    data = item.get("data")
    name = data.get("pic_id") if isinstance(data, dict) else None
    return _sized(name or item.get("id"), data)


def _sized(name: Any, info: Any) -> RawPicture | None:
    """A picture of weibo.com: a map from size to address and measure."""
    if not isinstance(info, dict):
        return _named(name)
    for size in _SIZES:
        one = info.get(size)
        if isinstance(one, dict) and (address := _address(one.get("url"))):
            return _picture(name, address, one.get("width"), one.get("height"))
    return _named(name)


def _card_picture(row: Any) -> RawPicture | None:
    """A picture of m.weibo.cn; an element may be a bare address."""
    if isinstance(row, str):
        return _picture(None, _address(row), None, None) if _address(row) else _named(row)
    if not isinstance(row, dict) or row.get("type") == "video":
        return None
    large = row.get("large")
    best = large if isinstance(large, dict) and _address(large.get("url")) else row
    address = _address(best.get("url"))
    if not address:
        return _named(row.get("pid"))
    geo = best.get("geo")
    shape = geo if isinstance(geo, dict) else {}
    return _picture(row.get("pid"), address, shape.get("width"), shape.get("height"))


def _named(name: Any) -> RawPicture | None:
    if not isinstance(name, str) or not _PICTURE_ID.fullmatch(name):
        return None
    return RawPicture(id=name, url=_PICTURE_URL.format(name))


def _picture(name: Any, address: str, width: Any, height: Any) -> RawPicture:
    id = name if isinstance(name, str) and name else address.rpartition("/")[2].partition(".")[0]
    return RawPicture(id=id, url=address, width=_side(width), height=_side(height))


def _side(value: Any) -> int:
    text = str(value) if is_scalar(value) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0


def _address(value: Any) -> str:
    """An address of the web; one without a scheme is Weibo's way to write https."""
    text = value.strip() if isinstance(value, str) else ""
    text = f"https:{text}" if text.startswith("//") else text
    return text if text.startswith(("https://", "http://")) else ""
