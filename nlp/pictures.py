"""From picture bytes to the numbers that a backbone reads. Shapes: C = ``crop`` pixels a side; pixels (3, C, C) RGB.

Decoding takes any JPEG, PNG, GIF (first frame), WebP or BMP: grey, palette, CMYK, 16 bits, transparency (laid on white)
and the camera's orientation are dealt with. What cannot be used raises ``PictureError``, which the caller counts.
All functions are safe in any thread.
"""

from __future__ import annotations

import io
import math
import random
import warnings
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

Pixels = NDArray[np.float32]

BYTES_MAX: Final = 32 * 1024 * 1024
PIXELS_MAX: Final = 50_000_000
_TOO_LARGE: Final = "too many pixels"
_ASPECT_MAX: Final = 8
"""The longer side is cut to this many times the shorter before scaling: a line of pixels would fill the memory."""
_FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "BMP")

# Pillow only warns of what it thinks too large.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


class PictureError(ValueError):
    """A picture cannot be used; the text is the reason."""


class Preprocess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an upright RGB picture becomes pixels.

    ``standard``: the shorter side is scaled to ``resize``, the middle ``crop`` × ``crop`` is taken; in training a
    random part of at least ``area_min`` of the picture is scaled to ``crop`` instead, and mirrored every other time
    if ``flip``. Then (value / 255 - mean) / deviation.

    ``vgg_reference`` and ``umt_reference`` repeat what the reference code of ACA and UMT does, defects included
    (``vgg_reference``, ``umt_reference`` below). They are for parity, never for a model of one's own.
    """

    kind: Literal["standard", "vgg_reference", "umt_reference"] = "standard"
    resize: int = 256
    crop: int = 224
    area_min: float = 0.5
    flip: bool = True
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    deviation: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if not 1 <= self.crop <= self.resize <= 4096:
            raise ValueError("1 <= crop <= resize <= 4096 must hold")
        if not 0 < self.area_min <= 1 or min(self.deviation) <= 0:
            raise ValueError("area_min must be in (0, 1], each deviation above 0")


def pixels(source: bytes | Path, preprocess: Preprocess, seed: int | None = None) -> Pixels:
    """Pixels (3, C, C) of a picture: always the same ones without ``seed``; with it, a random view for training.

    ``umt_reference`` has random views only; without ``seed`` it takes that of seed 0. Raises ``PictureError``.
    """
    image = decode(source)
    if preprocess.kind == "vgg_reference":
        return vgg_reference(image, preprocess.crop)
    if preprocess.kind == "umt_reference":
        return normal(umt_reference(image, preprocess.crop, seed or 0), preprocess)
    view = middle(image, preprocess) if seed is None else random_part(image, preprocess, seed)
    return normal(view, preprocess)


def decode(source: bytes | Path) -> Image.Image:
    """An upright RGB picture. Raises ``PictureError``."""
    data = source if isinstance(source, bytes) else picture_bytes(source)
    try:
        return _decoded(data)
    except PictureError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise PictureError(_TOO_LARGE) from error
    except UnidentifiedImageError as error:
        raise PictureError("no picture of a known format") from error
    except Exception as error:
        # Decoders of broken files raise nearly anything; the post is worth more than its picture.
        raise PictureError(f"broken: {str(error)[:200]}") from error


def picture_bytes(path: Path) -> bytes:
    """What a picture file holds. Raises ``PictureError``."""
    try:
        with path.open("rb") as handle:
            data = handle.read(BYTES_MAX + 1)
    except OSError as error:
        raise PictureError((error.strerror or "unreadable").lower()) from error
    if len(data) > BYTES_MAX:
        raise PictureError(f"more than {BYTES_MAX} bytes")
    return data


def _decoded(data: bytes) -> Image.Image:
    if not data:
        raise PictureError("empty")
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        if image.width * image.height > PIXELS_MAX:
            raise PictureError(_TOO_LARGE)
        return _rgb(ImageOps.exif_transpose(image))


def _rgb(image: Image.Image) -> Image.Image:
    """RGB of any mode; transparency shows white, 16 bits keep their upper eight."""
    if image.mode.startswith("I"):
        upper = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(upper.clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return image.convert("RGB")


def middle(image: Image.Image, preprocess: Preprocess) -> Image.Image:
    """The picture scaled so that its shorter side has ``resize`` pixels, and its middle ``crop`` × ``crop``."""
    image = _not_too_long(image)
    width, height = image.size
    short = preprocess.resize
    size = (short, short * height // width) if width <= height else (short * width // height, short)
    scaled = image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)
    left, top = (round((side - preprocess.crop) / 2) for side in size)
    return scaled.crop((left, top, left + preprocess.crop, top + preprocess.crop))


def random_part(image: Image.Image, preprocess: Preprocess, seed: int) -> Image.Image:
    """A random part of at least ``area_min`` of the picture, 3:4 to 4:3 where it fits, scaled to ``crop`` × ``crop``.

    The same ``seed`` gives the same part.
    """
    chance = random.Random(seed)
    image = _not_too_long(image)
    area = image.width * image.height * chance.uniform(preprocess.area_min, 1)
    ratio = math.exp(chance.uniform(-1, 1) * math.log(4 / 3))
    width = min(image.width, max(1, round(math.sqrt(area * ratio))))
    height = min(image.height, max(1, round(math.sqrt(area / ratio))))
    left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    box = (left, top, left + width, top + height)
    side = (preprocess.crop, preprocess.crop)
    part = image.resize(side, Image.Resampling.BILINEAR, box=box)
    return ImageOps.mirror(part) if preprocess.flip and chance.random() < 0.5 else part


def normal(image: Image.Image, preprocess: Preprocess) -> Pixels:
    """(value / 255 - mean) / deviation of each channel, (3, H, W)."""
    values = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
    mean, deviation = (np.array(row, np.float32)[:, None, None] for row in (preprocess.mean, preprocess.deviation))
    return np.ascontiguousarray((values - mean) / deviation)


def vgg_reference(image: Image.Image, side: int) -> Pixels:
    """What the reference code of ACA feeds to VGG: 0 to 255, wrapped, of a picture out of shape.

    The picture is scaled to ``side`` × ``side`` whatever its proportions; Caffe's means, meant for BGR, are taken from
    RGB; and the result stays in one byte, so that what is below zero comes out near 255.
    """
    squeezed = np.asarray(image.resize((side, side)), dtype=np.float64)
    shifted = np.trunc(squeezed - np.array([103.939, 116.779, 123.68]))
    return np.ascontiguousarray(np.mod(shifted, 256).astype(np.float32).transpose(2, 0, 1))


def umt_reference(image: Image.Image, side: int, seed: int) -> Image.Image:
    """What the reference code of UMT cuts out, in training and in tests: any ``side`` × ``side``.

    Nothing is scaled; every other part is mirrored. Raises ``PictureError`` where the picture is smaller.
    """
    if min(image.size) < side:
        raise PictureError(f"smaller than {side} x {side}")
    chance = random.Random(seed)
    left, top = chance.randint(0, image.width - side), chance.randint(0, image.height - side)
    part = image.crop((left, top, left + side, top + side))
    return ImageOps.mirror(part) if chance.random() < 0.5 else part


def _not_too_long(image: Image.Image) -> Image.Image:
    """The middle of a picture whose sides differ by more than ``_ASPECT_MAX``."""
    width, height = (min(side, _ASPECT_MAX * min(image.size)) for side in image.size)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def thumbnail(source: bytes | Path, side: int) -> bytes:
    """A small JPEG of a picture, at most ``side`` pixels wide and high. Raises ``PictureError``."""
    image = decode(source)
    image.thumbnail((side, side))
    held = io.BytesIO()
    image.save(held, "JPEG", quality=70)
    return held.getvalue()


def jpeg_tables(source: bytes | Path) -> dict[int, list[int]] | None:
    """Quantisation tables of a JPEG by number, the first that of brightness; None for other formats.

    Raises ``PictureError`` where ``decode`` does.
    """
    data = source if isinstance(source, bytes) else picture_bytes(source)
    decode(data)
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        return dict(image.quantization) if isinstance(image, JpegImageFile) else None
