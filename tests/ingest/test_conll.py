from pathlib import Path

import pytest
from PIL import Image

from ingest.conll import SYNTHETIC_START_MS
from ingest.ids import created_ms_from_mid, mid_from_bid
from stream.contract.ports import SourceError
from tests.ingest.corpus import NOW_MS, check_reach, chunks, given, posts, rejects, source

CMNER = "WID:LwHJyuvjT\n华\tB-LOC\n强\tI-LOC\n!\tO\n#\tO\n\nWID:L364I3366\r\na\tO\r\nb\tO\r\n\r\n"


async def test_cmner_posts_get_mid_and_time_from_their_id(tmp_path: Path) -> None:
    (tmp_path / "dev.txt").write_text(CMNER + "\n\nWID:no!\n坏\tO\n", encoding="utf-8", newline="")
    (tmp_path / "images").mkdir()
    Image.new("RGB", (600, 400), "red").save(tmp_path / "images" / "LwHJyuvjT_00a.jpg")
    (tmp_path / "images" / "LwHJyuvjT_00b.jpg").write_bytes(b"no picture")
    taken = await chunks(source(f"cmner:{tmp_path}/dev.txt"))
    check_reach(taken)
    older, newer = posts(taken)
    assert (older.text, newer.text) == ("ab", "华强!#")
    assert newer.id == newer.mid == mid_from_bid("LwHJyuvjT") and newer.bid == "LwHJyuvjT"
    assert newer.created_ms == newer.observed_ms == created_ms_from_mid(newer.mid)
    assert [(picture.id, bool(picture.jpeg)) for picture in newer.pictures] == [
        ("LwHJyuvjT_00a", True),
        ("LwHJyuvjT_00b", False),
    ]
    [reject] = rejects(taken)
    assert (reject.reason, reject.place) == ("bad_field", "line 13") and "WID" in reject.detail


async def test_cmner_needs_an_id_for_each_post(tmp_path: Path) -> None:
    (tmp_path / "dev.txt").write_text("华\tB-LOC\n", encoding="utf-8")
    [reject] = rejects(await chunks(source(f"cmner:{tmp_path}/dev.txt")))
    assert reject.reason == "bad_field"


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("IMGID:1\nRT\tO\n@x\tO\n:\tO\n\nIMGID:2\nParis\tB-LOC\n", ["RT @x :", "Paris"]),
        ("口0\tO\n腔1\tO\n3\u00300\tO\n\n\n西0\tB\nA1\tI\n", ["口腔3", "西A"]),
        ("-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ O O\n", ["EU rejects"]),
        ("# id = 7\n# a comment here\nhello\tO\n上海\tB\n世界\tO\n", ["hello上海世界"]),
        ("a\tO\nIMGID:2\nb\tO", ["a", "b"]),
        ("\n\n", []),
    ],
)
async def test_any_conll_file_gives_its_posts_a_second_apart(tmp_path: Path, text: str, texts: list[str]) -> None:
    text = text.replace("3\u00300", "30")
    (tmp_path / "x.txt").write_text(text, encoding="utf-8")
    taken = await chunks(source(f"conll:{tmp_path}/x.txt"))
    assert [post.text for post in posts(taken)] == texts
    assert [post.created_ms for post in posts(taken)] == [SYNTHETIC_START_MS + 1000 * n for n in range(len(texts))]
    assert len({post.id for post in posts(taken)}) == len(texts) and not rejects(taken)


async def test_a_grown_conll_file_goes_on_counting(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("a\tO\n\nb\tO\n\n")
    first = await chunks(source(f"conll:{path}"))
    with path.open("a") as file:
        file.write("c\tO\n")
    [post] = posts(await chunks(source(f"conll:{path}"), first[-1].cursor))
    assert (post.id, post.created_ms) == ("x:3", SYNTHETIC_START_MS + 2000)


async def test_stopped_anywhere_it_goes_on_exactly(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("".join(f"IMGID:{n}\nw{n}\tO\n\n" for n in range(700)))
    spec = f"conll:{tmp_path}/x.txt"
    whole = await chunks(source(spec))
    for stop in range(1, len(whole)):
        rest = await chunks(source(spec), whole[stop - 1].cursor)
        assert given(whole[:stop]) + given(rest) == given(whole)


async def test_a_post_without_tokens_and_bad_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"IMGID:1\n\nIMGID:2\n\xff\tO\n")
    taken = await chunks(source(f"conll:{tmp_path}/x.txt"))
    assert [reject.reason for reject in rejects(taken)] == ["empty", "bad_encoding"]


async def test_pictures_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("IMGID:17\nParis\tB-LOC\n")
    (tmp_path / "pics").mkdir()
    Image.new("L", (30, 40)).save(tmp_path / "pics" / "17.png")
    [post] = posts(await chunks(source(f"conll:{tmp_path}/x.txt?images={tmp_path}/pics", now_ms=lambda: NOW_MS)))
    assert [(picture.id, picture.width, picture.height) for picture in post.pictures] == [("17", 30, 40)]
    with pytest.raises(SourceError, match="no folder"):
        source(f"conll:{tmp_path}/x.txt?images={tmp_path}/nowhere")
