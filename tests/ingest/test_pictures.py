import base64
import io
import os
from pathlib import Path

import pytest
from PIL import Image

from ingest.clean import EdgeSettings, RawPicture
from ingest.pictures import drawer
from stream.contract.codec import RECORD_BYTES_MAX, encode
from stream.contract.records import Picture, Post
from tests.ingest.corpus import chunks, edge, line, posts, source


def noise(width: int = 900, height: int = 700) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((width, height), 120).convert("RGB").save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outer = tmp_path_factory.mktemp("outer")
    (outer / "secret.jpg").write_bytes(noise(60, 60))
    inner = outer / "inner"
    (inner / "sub").mkdir(parents=True)
    (inner / "sub" / "a.jpg").write_bytes(noise(60, 60))
    (inner / "link.jpg").symlink_to(outer / "secret.jpg")
    (inner / "big.jpg").write_bytes(b"\xff\xd8\xff" + b"0" * 200_000)
    os.mkfifo(inner / "pipe.jpg")
    return inner


def one(folder: Path | None, raw: RawPicture) -> Picture:
    [picture] = drawer(EdgeSettings(picture_file_bytes_max=100_000), folder)([raw])
    return picture


def test_a_path_inside_the_folder_is_read(folder: Path) -> None:
    for path in ("sub/a.jpg", "./sub/../sub/a.jpg", str(folder / "sub" / "a.jpg")):
        picture = one(folder, RawPicture(path=path))
        assert picture.id == "a" and picture.jpeg and not picture.problem


@pytest.mark.parametrize(
    "path",
    [
        "../secret.jpg", "sub/../../secret.jpg", "link.jpg", "/etc/passwd", "pipe.jpg", "sub", ".", "missing.jpg",
        "big.jpg", "a\0b", "x" * 5000,
    ],
)  # fmt: skip
def test_every_other_path_is_a_problem(folder: Path, path: str) -> None:
    picture = one(folder, RawPicture(path=path))
    assert picture.problem and not picture.jpeg


def test_without_a_folder_paths_mean_nothing() -> None:
    assert "path" in one(None, RawPicture(path="a.jpg")).problem


def test_urls_are_kept_and_not_fetched() -> None:
    picture = one(None, RawPicture(url="https://wx1.sinaimg.cn/large/006Q.jpg", width=3, height=4))
    assert (picture.id, picture.width, picture.height, picture.problem) == ("006Q", 3, 4, "not fetched")
    assert one(None, RawPicture(url="http://[broken")).id == "p1"
    assert one(None, RawPicture(url="https://x/" + "y" * 3000)).url == ""


def test_many_large_pictures_share_the_budget_and_the_record_travels() -> None:
    raws = [RawPicture(id="same", data=base64.b64encode(noise()).decode())] * 25
    pictures = edge().draw(raws)
    assert len(pictures) == 19 and "7 more pictures" in pictures[-1].problem
    assert all(picture.jpeg for picture in pictures[:-1])
    assert sum(len(picture.jpeg) for picture in pictures) <= EdgeSettings().pictures_bytes_max
    assert len({picture.id for picture in pictures}) == 19
    post = Post(
        id="1", source="s", author="a", created_ms=1, observed_ms=1, text="\U0001f600" * 20_000, root_id="1",
        pictures=pictures,
    )  # fmt: skip
    assert len(encode(post)) < RECORD_BYTES_MAX


async def test_a_file_of_posts_finds_its_pictures_beside_it(folder: Path) -> None:
    (folder / "posts.jsonl").write_text(line(1, text="", pictures=["sub/a.jpg", "../secret.jpg"]) + "\n")
    [post] = posts(await chunks(source(f"jsonl:{folder}/posts.jsonl")))
    assert [bool(picture.jpeg) for picture in post.pictures] == [True, False]
