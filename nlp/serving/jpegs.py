"""JPEGs decoded and scaled on the model's device, many at once, by torchvision: nvJPEG where that is CUDA.

Shapes: C = ``crop`` pixels a side.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

import torch
from PIL import Image
from torch import Tensor

from nlp.pictures import PIXELS_MAX, Preprocess

_ORIENTATION: Final = 0x0112
_ASPECT_MAX: Final = 8


def can_decode() -> bool:
    """Whether this torchvision has decoders of JPEG; from 0.29 on it says that they will go."""
    try:
        from torchvision.io import ImageReadMode, decode_jpeg  # noqa: F401
    except ImportError:
        return False
    return True


def is_plain(data: bytes) -> bool:
    """Whether ``data`` begins like a JPEG that needs no more than decoding: upright, grey or colour, of usual shape.

    Only the header is read. All others are for ``nlp.pictures``.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            long, short = max(image.size), min(image.size)
            upright = image.getexif().get(_ORIENTATION, 1) == 1
            return image.mode in ("RGB", "L") and upright and long <= _ASPECT_MAX * short and long * short <= PIXELS_MAX
    except Exception:  # whatever a broken header raises, the other way says what is wrong
        return False


def decoded(jpegs: Sequence[bytes], preprocess: Preprocess, device: torch.device) -> list[Tensor]:
    """Pixels (3, C, C) of each of ``jpegs`` on ``device``, as ``nlp.pictures.pixels`` but for rounding.

    Raises ``RuntimeError`` when one of them is damaged behind its header.
    """
    from torchvision.io import ImageReadMode, decode_jpeg

    values = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in jpegs]
    images: list[Tensor] = decode_jpeg(values, mode=ImageReadMode.RGB, device=device)
    mean, deviation = (
        torch.tensor(row, device=device)[:, None, None] for row in (preprocess.mean, preprocess.deviation)
    )
    return [(_middle(image, preprocess) / 255 - mean) / deviation for image in images]


def _middle(image: Tensor, preprocess: Preprocess) -> Tensor:
    """The middle (3, C, C), float from 0 to 255, of an image whose shorter side is scaled to ``resize``."""
    from torchvision.transforms.v2.functional import resize

    height, width = image.shape[-2:]
    scale = preprocess.resize / min(width, height)
    size = [preprocess.resize, int(scale * width)] if height <= width else [int(scale * height), preprocess.resize]
    scaled: Tensor = resize(image, size, antialias=True).float()
    top, left = (round((side - preprocess.crop) / 2) for side in size)
    return scaled[:, top : top + preprocess.crop, left : left + preprocess.crop]
