"""From foreign picture bytes to a small clean JPEG, guarded against what pictures can do to a decoder.

Type by magic bytes only, four formats, a limit on pixels before anything is decoded, the first frame only. All
functions block and may run in any thread; none raises for what a picture contains.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from typing import Final

from PIL import Image, ImageOps

from ingest.clean import EdgeSettings
from stream.contract.records import Picture

PIXELS_MAX: Final = 25_000_000
_ASPECT_MAX: Final = 4
"""The longer side may have this many times ``picture_side_px``: long screenshots would break any byte budget."""
_QUALITIES: Final = (82, 72, 60, 48, 36)
_SHRINK_STEPS_MAX: Final = 8
_HARMLESS_INFO: Final = frozenset(
    ["jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "progressive", "progression"]
)

# Pillow's own guard is for the whole process, where others have other limits: it stays as it is, far above ours.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


class _Unusable(Exception):
    """The picture can't be taken; the text is its ``problem``."""


def small_picture(data: bytes, picture_id: str, url: str, settings: EdgeSettings, bytes_max: int) -> Picture:
    """``data`` as a JPEG of about ``picture_side_px`` on the shorter side and at most ``bytes_max`` bytes.

    A JPEG that already keeps all limits and carries no metadata stays as it is, byte for byte. ``width`` and
    ``height`` are those of the upright original. Where nothing can be had, ``problem`` says why.
    """
    try:
        size, jpeg = _small_jpeg(data, settings, bytes_max)
    except _Unusable as problem:
        return Picture(id=picture_id, url=url, problem=str(problem))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return Picture(id=picture_id, url=url, problem=f"more than {PIXELS_MAX} pixels")
    except Exception as error:
        # Decoders of broken files raise nearly anything; the post is worth more than its picture.
        return Picture(id=picture_id, url=url, problem=f"broken picture: {str(error)[:200]}")
    sha256 = hashlib.sha256(jpeg).hexdigest()
    return Picture(id=picture_id, url=url, sha256=sha256, width=size[0], height=size[1], jpeg=jpeg)


def picture_format(data: bytes) -> str | None:
    """JPEG, PNG, GIF or WEBP by magic bytes, else None."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return None


def _small_jpeg(data: bytes, settings: EdgeSettings, bytes_max: int) -> tuple[tuple[int, int], bytes]:
    if not data:
        raise _Unusable("an empty file")
    kind = picture_format(data)
    if kind is None:
        raise _Unusable("not a JPEG, PNG, WEBP or GIF")
    with Image.open(io.BytesIO(data), formats=(kind,)) as image:
        if image.width * image.height > PIXELS_MAX:
            raise _Unusable(f"{image.width}×{image.height} pixels; at most {PIXELS_MAX} are decoded")
        full = image.size
        target = _target(full, settings.picture_side_px)
        if target == full and len(data) <= bytes_max and _is_clean_jpeg(image, data):
            image.load()
            return full, data
        if kind == "JPEG":
            image.draft("RGB", target)
        image.seek(0)
        upright = ImageOps.exif_transpose(image)
        turned = (upright.width > upright.height) != (image.width > image.height)
        flat = _flatten(upright)
        # Pillow writes a comment that it finds here back into the new file.
        flat.info = {}
    if turned:
        full, target = full[::-1], target[::-1]
    return full, _encode(flat, target, bytes_max)


def _target(size: tuple[int, int], side_px: int) -> tuple[int, int]:
    short, long = sorted(size)
    scale = min(1.0, side_px / short, side_px * _ASPECT_MAX / long)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _is_clean_jpeg(image: Image.Image, data: bytes) -> bool:
    plain = image.format == "JPEG" and image.mode in ("RGB", "L")
    return plain and image.info.keys() <= _HARMLESS_INFO and data.endswith(b"\xff\xd9")


def _flatten(image: Image.Image) -> Image.Image:
    """RGB on white: text on a transparent ground is mostly dark."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    ground = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(ground, layer).convert("RGB")


def _encode(image: Image.Image, target: tuple[int, int], bytes_max: int) -> bytes:
    for _ in range(_SHRINK_STEPS_MAX):
        scaled = image if image.size == target else image.resize(target, Image.Resampling.LANCZOS)
        for quality in _QUALITIES:
            buffer = io.BytesIO()
            scaled.save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() <= bytes_max:
                return buffer.getvalue()
        target = max(1, target[0] * 3 // 4), max(1, target[1] * 3 // 4)
    raise _Unusable(f"does not fit into {bytes_max} bytes")
