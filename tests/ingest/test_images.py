"""Pictures from a hostile world: always a small clean JPEG or a problem, never an exception."""

import hashlib
import io
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ingest.clean import EdgeSettings
from ingest.images import small_picture
from stream.contract.records import Picture

SETTINGS = EdgeSettings()


def picture(data: bytes, bytes_max: int = 48_000) -> Picture:
    return small_picture(data, "p", "", SETTINGS, bytes_max)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int, height: int) -> Image.Image:
    return Image.effect_noise((width, height), 90).convert("RGB")


def opened(made: Picture) -> Image.Image:
    assert not made.problem, made.problem
    assert made.sha256 == hashlib.sha256(made.jpeg).hexdigest()
    image = Image.open(io.BytesIO(made.jpeg))
    assert image.format == "JPEG"
    image.load()
    return image


FORMATS = {
    "JPEG": ("RGB", "L", "1", "CMYK"),
    "PNG": ("RGB", "L", "1", "P", "RGBA", "LA"),
    "WEBP": ("RGB", "L", "1", "P", "RGBA", "LA", "CMYK"),
    "GIF": ("RGB", "L", "1", "P", "RGBA", "LA"),
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in FORMATS.items() for mode in modes])
def test_every_format_and_mode_becomes_a_small_jpeg(kind: str, mode: str) -> None:
    image = noise(800, 400).convert("RGBA" if mode == "LA" else "RGB").convert(mode)
    data = saved(image, kind)
    made = picture(data)
    small = opened(made)
    assert small.size == (512, 256) and (made.width, made.height) == (800, 400)
    assert len(made.jpeg) <= 48_000 and small.mode == "RGB"


def test_transparency_becomes_white() -> None:
    made = opened(picture(saved(Image.new("RGBA", (50, 50), (0, 0, 0, 0)), "PNG")))
    assert made.getpixel((25, 25)) == (255, 255, 255)


def test_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "blue")]
    made = opened(picture(saved(frames[0], "GIF", save_all=True, append_images=frames[1:])))
    pixel = made.getpixel((20, 20))
    assert isinstance(pixel, tuple) and pixel[0] > 200 and pixel[2] < 60


def test_orientation_is_applied_and_metadata_stripped() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "secret camera"
    made = picture(saved(noise(600, 300), "JPEG", exif=exif))
    assert opened(made).size == (256, 512) and (made.width, made.height) == (300, 600)
    assert b"secret" not in made.jpeg and not opened(made).getexif()


def test_a_small_clean_jpeg_stays_byte_for_byte_and_one_with_metadata_does_not() -> None:
    clean = saved(noise(200, 100), "JPEG")
    assert picture(clean).jpeg == clean
    for dirty in (saved(noise(200, 100), "JPEG", comment=b"hidden"), clean + b"<script>"):
        made = picture(dirty)
        assert opened(made).size == (200, 100)
        assert b"hidden" not in made.jpeg and b"<script>" not in made.jpeg


def test_long_screenshots_are_scaled_by_their_long_side() -> None:
    assert opened(picture(saved(Image.new("RGB", (300, 9000), "white"), "PNG"))).size == (34, 1024)


@pytest.mark.parametrize("bytes_max", [20_000, 3_000])
def test_the_byte_budget_is_kept_even_by_noise(bytes_max: int) -> None:
    made = picture(saved(noise(900, 900), "JPEG", quality=98), bytes_max)
    assert opened(made) and len(made.jpeg) <= bytes_max


def test_an_impossible_budget_is_a_problem() -> None:
    assert "fit" in picture(saved(noise(900, 900), "JPEG"), 10).problem


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(5001, 5000), (7000, 7000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_never_decoded(size: tuple[int, int]) -> None:
    assert "pixels" in picture(bomb(*size)).problem


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", b"GIF89a", b"RIFF0000WEBP", b"\x89PNG\r\n\x1a\n", bomb(0, 0),
        bomb(99, 99), b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.4", b"BM" + b"\0" * 100, b"\0" * 1000,
    ],
)  # fmt: skip
def test_what_is_no_picture_is_a_problem(data: bytes) -> None:
    made = picture(data)
    assert made.problem and not made.jpeg and made.id == "p"


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF"]), st.data())
def test_damaged_pictures_never_raise(kind: str, data: st.DataObject) -> None:
    whole = bytearray(saved(Image.linear_gradient("L").resize((64, 64)), kind))
    for _ in range(data.draw(st.integers(0, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    made = picture(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    assert bool(made.jpeg) != bool(made.problem)
