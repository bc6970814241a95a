"""From bytes of pictures to pixels."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

from ingest.clean import EdgeSettings
from ingest.images import small_picture
from nlp import pictures
from nlp.pictures import PictureError, Preprocess, decode, pixels
from tests.corpus import demo_posts

DEMO = [base64.b64decode(one["data"]) for post in demo_posts() for one in post.get("pictures", ())]
SMALL = Preprocess(resize=40, crop=32)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def colour(image: Image.Image) -> tuple[int, ...]:
    found = image.getpixel((0, 0))
    assert isinstance(found, tuple)
    return found


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.new("RGB", (4, 4), (10, 200, 120)), "PNG", (10, 200, 120)),
        (Image.new("L", (4, 4), 77), "PNG", (77, 77, 77)),
        (Image.new("1", (4, 4), 1), "PNG", (255, 255, 255)),
        (Image.new("I;16", (4, 4), 0xAB12), "PNG", (0xAB, 0xAB, 0xAB)),
        (Image.new("LA", (4, 4), (0, 0)), "PNG", (255, 255, 255)),
        (Image.new("LA", (4, 4), (30, 255)), "PNG", (30, 30, 30)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 255)), "WEBP", (255, 0, 0)),
        (Image.new("RGB", (4, 4), (9, 8, 7)), "BMP", (9, 8, 7)),
        (Image.new("P", (4, 4), 0), "GIF", (0, 0, 0)),
        (Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "JPEG", (254, 0, 0)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value),
)
def test_any_mode_becomes_rgb(image: Image.Image, kind: str, expected: tuple[int, int, int]) -> None:
    found = decode(encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert found.mode == "RGB"
    assert np.allclose(colour(found), expected, atol=1)


def test_transparent_colour_of_a_palette_shows_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert colour(decode(encoded(image, "PNG", transparency=0))) == (255, 255, 255)


def test_the_orientation_of_the_camera_is_undone() -> None:
    image = Image.new("RGB", (20, 10), "white")
    image.paste((255, 0, 0), (0, 0, 5, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    found = decode(encoded(image, "PNG", exif=exif))
    assert found.size == (10, 20)
    assert colour(found) == (255, 0, 0)


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), shade) for shade in ("red", "blue")]
    assert colour(decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))) == (255, 0, 0)


def bomb(side: int) -> bytes:
    """A small PNG that says it has ``side`` × ``side`` pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<svg/>", "known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "known format"),
        (encoded(noise(64, 64), "JPEG")[:900], "broken"),
        (encoded(noise(64, 64))[:900], "broken"),
        (bomb(7_500), "too many pixels"),
        (bomb(12_000), "too many pixels"),
        (bomb(100_000), "too many pixels"),
    ],
    ids=["empty", "svg", "postscript", "cut jpeg", "cut png", "bomb", "larger bomb", "largest bomb"],
)
def test_what_cannot_be_used_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        decode(data)


def test_the_limit_of_what_is_fetched_is_not_that_of_what_is_read() -> None:
    size = (6_000, 5_000)
    data = encoded(Image.new("1", size))
    assert small_picture(data, "p", "", EdgeSettings(), 10_000).problem.endswith("at most 25000000 are decoded")
    assert decode(data).size == size


def test_files_that_cannot_be_used_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PictureError, match="no such file"):
        decode(tmp_path / "none.jpg")
    with pytest.raises(PictureError, match="is a directory"):
        decode(tmp_path)
    monkeypatch.setattr(pictures, "BYTES_MAX", 50)
    (tmp_path / "large.png").write_bytes(encoded(noise(20, 20)))
    with pytest.raises(PictureError, match="more than 50 bytes"):
        decode(tmp_path / "large.png")


@given(st.binary(max_size=300), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_no_bytes_raise_anything_else(data: bytes, kind: int) -> None:
    whole = encoded(noise(16, 16), ("JPEG", "PNG", "GIF", "WEBP")[kind])
    place = len(data) * 7 % len(whole)
    try:
        found = decode(whole[:place] + data + whole[place + len(data) :])
    except PictureError:
        return
    assert found.mode == "RGB"


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (40, 40), (33, 61), (61, 250)])
def test_middle_is_that_of_torchvision(size: tuple[int, int]) -> None:
    steps = [
        transforms.Resize(SMALL.resize),
        transforms.CenterCrop(SMALL.crop),
        transforms.ToTensor(),
        transforms.Normalize(SMALL.mean, SMALL.deviation),
    ]
    image = noise(*size)
    wanted = transforms.Compose(steps)(image).numpy()
    assert np.allclose(pixels(encoded(image), SMALL), wanted, atol=1e-6)


def test_pixels_are_what_the_equation_says() -> None:
    found = pixels(encoded(Image.new("RGB", (9, 9), (0, 128, 255))), SMALL)
    wanted = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert found.dtype == np.float32
    assert found.shape == (3, 32, 32)
    assert np.allclose(found[:, 5, 5], wanted, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (30_000, 2)])
def test_lines_of_pixels_do_not_fill_the_memory(size: tuple[int, int]) -> None:
    data = encoded(Image.new("RGB", size, (0, 128, 255)))
    assert pixels(data, Preprocess()).shape == pixels(data, Preprocess(), 1).shape == (3, 224, 224)


def test_views_of_training_are_repeatable_and_differ() -> None:
    data = encoded(noise(90, 60))
    views = [pixels(data, SMALL, seed) for seed in range(8)]
    assert all(np.array_equal(view, pixels(data, SMALL, seed)) for seed, view in enumerate(views))
    assert len({view.tobytes() for view in views}) == 8
    assert np.array_equal(pixels(data, SMALL), pixels(data, SMALL))


def test_a_view_is_a_part_of_the_picture() -> None:
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (100, 200, 3))
    image = Image.fromarray(np.ascontiguousarray(ramp))
    for seed in range(20):
        row = np.asarray(pictures.random_part(image, Preprocess(resize=50, crop=50, area_min=0.3), seed))[25, :, 0]
        steps = np.diff(row.astype(int))
        assert (steps >= 0).all() or (steps <= 0).all()
        assert 200 * 0.3 / 2 <= abs(int(row[-1]) - int(row[0])) <= 199


def test_without_flip_nothing_is_mirrored() -> None:
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None], (64, 64, 3))
    image = Image.fromarray(np.ascontiguousarray(ramp))
    ways = {
        flip: {
            bool(view[0, 9, -1] > view[0, 9, 0])
            for view in (pixels(encoded(image), Preprocess(resize=40, crop=32, flip=flip), seed) for seed in range(20))
        }
        for flip in (False, True)
    }
    assert ways == {False: {True}, True: {False, True}}


def test_reference_of_aca_wraps_around() -> None:
    """An example by hand, and all 256 values against numpy's own one-byte numbers."""
    image = Image.new("RGB", (300, 200), (10, 200, 120))
    found = pixels(encoded(image), Preprocess(kind="vgg_reference"))
    assert found.shape == (3, 224, 224)
    assert found[:, 7, 7].tolist() == [163, 83, 253]
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16)[:, :, None], 3, axis=2)
    got = pictures.vgg_reference(Image.fromarray(grey), 16)
    wanted: NDArray[np.uint8] = (grey - np.array([103.939, 116.779, 123.68])).astype(np.int32).astype(np.uint8)
    assert np.array_equal(got, wanted.transpose(2, 0, 1).astype(np.float32))


def test_reference_of_umt_cuts_without_scaling() -> None:
    image = noise(50, 40, seed=3)
    preprocess = Preprocess(kind="umt_reference", crop=32)
    whole = pictures.normal(image, preprocess)
    windows = np.lib.stride_tricks.sliding_window_view(whole, (32, 32), axis=(1, 2))[:, :9, :19]
    mirrored = 0
    for seed in range(12):
        found = pixels(encoded(image), preprocess, seed)
        match = [(windows == side[:, None, None]).all(axis=(0, 3, 4)).sum() for side in (found, found[:, :, ::-1])]
        assert sorted(match) == [0, 1]
        mirrored += int(match[1])
    assert 0 < mirrored < 12
    with pytest.raises(PictureError, match="smaller than 32 x 32"):
        pixels(encoded(noise(31, 40)), preprocess)


@pytest.mark.parametrize("fields", [{"crop": 300}, {"crop": 0}, {"area_min": 0.0}, {"deviation": (1.0, 0.0, 1.0)}])
def test_settings_that_make_no_sense(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must (hold|be in)|above 0"):
        Preprocess(**fields)


def test_the_example_pictures_of_cmner() -> None:
    assert [pixels(data, Preprocess()).shape for data in DEMO] == [(3, 224, 224)] * 25
