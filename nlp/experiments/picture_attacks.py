"""Pictures that were tampered with, or that belong to other posts.

Image attacks take a picture, randomness and a strength and give a picture of the same size. How they are shown to a
tagger, see ``shown``: as PNG, so that nothing is lost but what the attack took.
"""

from __future__ import annotations

import hashlib
import io
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from nlp.datasets import Example
from nlp.labels import Chunk
from nlp.pictures import PictureError, decode, picture_bytes
from stream.contract.ports import TagInput
from stream.contract.records import Picture

GREY: Final = (128, 128, 128)


class Donor(NamedTuple):
    """Pictures of another post, and the name of one of its entities."""

    pictures: tuple[Path, ...]
    name: str


Tamper = Callable[[Image.Image, random.Random, float, str], Image.Image]
"""The picture, randomness, the strength, and a word to write."""


class PictureAttack(NamedTuple):
    """``tamper`` changes each picture; without it the pictures are those of another post (``donor``), or none."""

    name: str
    title: str
    strengths: tuple[float, ...] = (1.0,)
    tamper: Tamper | None = None
    donor: str = ""


def attacks(font: Path | None) -> list[PictureAttack]:
    """All of them. ``font`` is a file with the glyphs of what is written into pictures."""
    return [
        PictureAttack("missing", "没有图 no picture"),
        PictureAttack("swapped", "换成他帖的图 another post's", donor="any"),
        PictureAttack("misleading", "误导图 of another type's entity", donor="other type"),
        PictureAttack("blank", "灰图 blank", tamper=blank),
        PictureAttack("noise", "噪声 noise", (0.05, 0.2), noise),
        PictureAttack("blur", "模糊 blur", (0.02, 0.06), blur),
        PictureAttack("jpeg", "压缩 JPEG", (0.8, 0.95), jpeg),
        PictureAttack("occlusion", "遮挡 occlusion", (0.25, 0.5), occlusion),
        PictureAttack("text", "图上写字 text in the picture", (0.2,), _writing(font)),
    ]


def blank(image: Image.Image, chance: random.Random, strength: float, word: str) -> Image.Image:
    """Nothing but grey."""
    return Image.new("RGB", image.size, GREY)


def noise(image: Image.Image, chance: random.Random, strength: float, word: str) -> Image.Image:
    """Gaussian noise; ``strength`` is its standard deviation, 1 the range of a channel."""
    values = np.asarray(image, dtype=np.float64)
    drawn = np.random.default_rng(chance.getrandbits(32)).normal(0, 255 * strength, values.shape)
    return Image.fromarray((values + drawn).round().clip(0, 255).astype(np.uint8))


def blur(image: Image.Image, chance: random.Random, strength: float, word: str) -> Image.Image:
    """Gaussian blur; ``strength`` is its radius, of the shorter side."""
    return image.filter(ImageFilter.GaussianBlur(strength * min(image.size)))


def jpeg(image: Image.Image, chance: random.Random, strength: float, word: str) -> Image.Image:
    """Saved as JPEG of quality 100 × (1 - ``strength``)."""
    held = io.BytesIO()
    image.save(held, "JPEG", quality=max(1, round(100 * (1 - strength))))
    return decode(held.getvalue())


def occlusion(image: Image.Image, chance: random.Random, strength: float, word: str) -> Image.Image:
    """A grey box of ``strength`` of the area, of the picture's proportions, anywhere."""
    width, height = (round(side * strength**0.5) for side in image.size)
    left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    covered = image.copy()
    covered.paste(GREY, (left, top, left + width, top + height))
    return covered


def written(
    image: Image.Image, chance: random.Random, strength: float, word: str, font: Path | None
) -> Image.Image:
    """``word`` across the picture, white with a black edge; ``strength`` is its height, of the picture's.

    Text in pictures misleads encoders that can read (Goh et al. 2021); the others see bright lines.
    """
    size = max(6.0, strength * image.height)
    face = ImageFont.truetype(str(font), size) if font else ImageFont.load_default(size)
    canvas = ImageDraw.Draw(covered := image.copy())
    left, top, right, bottom = canvas.textbbox((0, 0), word, font=face)
    place = (image.width - right - left) / 2, chance.uniform(0, max(0.0, image.height - bottom - top))
    canvas.text(place, word, (255, 255, 255), face, stroke_width=max(1, round(size / 12)), stroke_fill=(0, 0, 0))
    return covered


def _writing(font: Path | None) -> Tamper:
    return lambda image, chance, strength, word: written(image, chance, strength, word, font)


# --- whose pictures ----------------------------------------------------------------------------------------------


def donors(
    examples: Sequence[Example], gold: Sequence[Sequence[Chunk]], kind: str, seed: int
) -> list[Donor | None]:
    """For each post another one with pictures; of kind ``other type`` one with entities of other types only.

    None where there is no such post.
    """
    types = [frozenset(chunk.type for chunk in own) for own in gold]
    holders = [number for number, example in enumerate(examples) if example.pictures]
    fitting: dict[frozenset[str], list[int]] = {}
    if kind == "other type":
        for own in set(types):
            fitting[own] = [number for number in holders if types[number] and not types[number] & own]
    found: list[Donor | None] = []
    for number, own in enumerate(types):
        there = fitting[own] if kind == "other type" else holders
        pick = random.Random(f"{seed} {kind} {number}").randrange(max(1, len(there)))
        if there and there[pick] == number:
            pick = (pick + 1) % len(there)
        taken = there[pick] if there else number
        found.append(None if taken == number else _donor(examples[taken], gold[taken]))
    return found


def _donor(example: Example, gold: Sequence[Chunk]) -> Donor:
    name = example.text[gold[0].start : gold[0].end] if gold else ""
    return Donor(example.pictures, name)


def shown(
    example: Example, attack: PictureAttack, strength: float, donor: Donor | None, seed: str, left_out: Counter[str]
) -> TagInput:
    """The post under an attack; without a donor it keeps its own pictures. Unreadable ones are counted and left out."""
    paths = donor.pictures if attack.donor and donor else example.pictures
    if not attack.donor and attack.tamper is None:
        paths = ()
    held = []
    for number, path in enumerate(paths):
        try:
            data = picture_bytes(path)
            if attack.tamper:
                word = (donor.name if donor else "") or "?"
                data = _png(attack.tamper(decode(data), random.Random(f"{seed} {number}"), strength, word))
        except PictureError as error:
            left_out[str(error)] += 1
            continue
        held.append(Picture(id=path.name, sha256=hashlib.sha256(data).hexdigest(), jpeg=data))
    return TagInput(example.text, tuple(held))


def _png(image: Image.Image) -> bytes:
    held = io.BytesIO()
    image.save(held, "PNG", compress_level=1)
    return held.getvalue()


TITLES: Final[Mapping[str, str]] = {one.name: one.title for one in attacks(None)}
