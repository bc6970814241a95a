"""torchvision decodes and scales as Pillow does but for rounding; on the CPU here, in the way that CUDA takes."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from nlp.pictures import Preprocess, pixels
from nlp.serving.jpegs import decoded, is_plain
from nlp.serving.settings import TaggerSettings
from stream.contract.ports import TagInput, tagged
from stream.contract.records import Picture
from tests.corpus import demo_posts
from tests.nlp.serving_models import GREEN, RED, Painted, tagger_of

DEMO = [base64.b64decode(one["data"]) for post in demo_posts() for one in post.get("pictures", ())]
PREPROCESS = Preprocess(resize=64, crop=56)
CPU = torch.device("cpu")


def jpeg(image: Image.Image, **more: object) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=95, **more)
    return data.getvalue()


def test_real_pictures_come_out_as_from_pillow() -> None:
    assert len(DEMO) == 25
    assert all(map(is_plain, DEMO))
    for one, data in zip(decoded(DEMO, PREPROCESS, CPU), DEMO, strict=True):
        difference = np.abs(one.numpy() - pixels(data, PREPROCESS))
        assert one.shape == (3, 56, 56)
        assert difference.mean() < 0.02, "a level of 255 is about 0.017"
        assert difference.max() < 0.2


def test_grey_becomes_three_channels() -> None:
    grey = jpeg(Image.radial_gradient("L").resize((80, 64)))
    assert is_plain(grey)
    assert np.abs(decoded([grey], PREPROCESS, CPU)[0].numpy() - pixels(grey, PREPROCESS)).mean() < 0.02


def test_what_needs_more_than_decoding_is_for_pillow() -> None:
    picture = Image.new("RGB", (80, 64), RED)
    turned = Image.Exif()
    turned[0x0112] = 6
    png = io.BytesIO()
    picture.save(png, "PNG")
    others = [
        jpeg(picture, exif=turned.tobytes()), jpeg(picture.convert("CMYK")), jpeg(Image.new("RGB", (900, 20))),
        png.getvalue(), b"", b"\xff\xd8\xff", b"GIF89a",
    ]  # fmt: skip
    assert not any(map(is_plain, others))


def test_a_picture_damaged_behind_its_header_raises() -> None:
    with pytest.raises(RuntimeError):
        decoded([DEMO[0], DEMO[1][:700]], PREPROCESS, CPU)


def test_a_tagger_that_decodes_on_its_device_finds_the_same() -> None:
    def shown(colour: tuple[int, int, int], name: str) -> Picture:
        return Picture(id=name, jpeg=jpeg(Image.new("RGB", (40, 30), colour)))

    posts = [TagInput("人红", (shown(RED, "r"), Picture(id="x", jpeg=b"no picture"))), TagInput("红"), TagInput("人红")]
    on, off = TaggerSettings(decode_on_device="on"), TaggerSettings(decode_on_device="off")
    found = [tagged(tagger_of(Painted(), settings=settings), posts) for settings in (on, off)]
    assert [[span.picture_id for span in spans] for spans in found[0]] == [["", "r"], [], [""]]
    assert found[0] == found[1]
    with pytest.raises(RuntimeError, match="green"):
        tagged(tagger_of(Painted(), settings=on), [TagInput("人", (shown(GREEN, "g"),))])
