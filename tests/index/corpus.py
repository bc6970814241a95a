"""Small documents for the tests of the index."""

from __future__ import annotations

import io
import random
from hashlib import sha256
from typing import Any, Final

from PIL import Image

from stream.contract.records import (
    Counts,
    Document,
    Evidence,
    Flip,
    Mention,
    Picture,
    Post,
    Reject,
    TrendPoint,
    WindowScore,
)

MARCH: Final = 1_646_092_800_000
"""2022-03-01T00:00:00Z."""
HOUR: Final = 3_600_000


def _jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (40, 120, 200)).save(buffer, "JPEG")
    return buffer.getvalue()


JPEG: Final = _jpeg()


def document(id: str, text: str, *entities: str, at_ms: int = MARCH, **changes: Any) -> Document:
    """A document whose mentions are ``entities`` (``LOC/上海``), each found at its first place in ``text``.

    ``changes`` go to the post, apart from ``epoch`` (of the model) and ``surface`` (of every mention).
    """
    epoch, surface = changes.pop("epoch", 0), changes.pop("surface", None)
    author = changes.pop("author", "a1")
    observed_ms = changes.pop("observed_ms", at_ms)
    post = Post(
        id=id,
        source=changes.pop("source", "test"),
        author=author,
        created_ms=at_ms,
        observed_ms=observed_ms,
        text=text,
        root_id=id,
        **changes,
    )
    mentions = tuple(_mention(post, entity, surface) for entity in entities)
    return Document(post=post, mentions=mentions, model_version=f"m{epoch}", model_epoch=epoch)


def _mention(post: Post, entity: str, surface: str | None) -> Mention:
    kind, _, name = entity.partition("/")
    written = surface or name
    start = max(0, post.text.find(written))
    return Mention(
        post_id=post.id,
        root_id=post.root_id,
        author=post.author,
        author_known=post.author_known,
        created_ms=post.created_ms,
        observed_ms=post.observed_ms,
        type=kind,
        surface=written,
        raw_key=f"{kind}/{written}",
        entity=entity,
        start=start,
        end=start + len(written),
        confidence=0.9,
        simhash=1,
        model_version="m",
    )


def picture(jpeg: bytes = JPEG) -> Picture:
    """A picture with its bytes."""
    return Picture(id="p1", sha256=sha256(jpeg).hexdigest(), width=1, height=1, jpeg=jpeg)


def point(entity: str, bin_ms: int, mentions: int = 3, score: int = 0) -> TrendPoint:
    """A trend point of five minutes."""
    return TrendPoint(
        entity=entity,
        type=entity.partition("/")[0],
        bin_ms=bin_ms,
        width_ms=300_000,
        mentions=mentions,
        authors=mentions,
        weighted=float(mentions),
        engagement=0,
        score=score,
    )


def flip(incident: str, sequence: int, state: str, entity: str = "LOC/上海", at_ms: int = MARCH) -> Flip:
    """An alert with one post of evidence."""
    kind, _, name = entity.partition("/")
    window = WindowScore(
        window_ms=HOUR,
        observed=40,
        expected=6.5,
        dispersion=0.1,
        score=9100,
        lift=6.1,
        lift_low=3.0,
        mentions=44,
        authors=38,
        effective_authors=30.0,
        reposts=4,
        image_only=1,
        engagement=500,
        baseline_windows=200,
    )
    evidence = Evidence(
        post_id="e1",
        author="a9",
        created_ms=at_ms,
        source="test",
        surface=name,
        excerpt="上海<b>封控</b>",
        weight=65_536,
    )
    return Flip(
        id=f"{incident}-{sequence}",
        incident_id=incident,
        sequence=sequence,
        rule_id="burst",
        rule_version=1,
        rule_kind="burst",
        state=state,
        severity="warning",
        entity=entity,
        type=kind,
        surface=name,
        at_ms=at_ms + sequence * HOUR,
        first_ms=at_ms,
        window=window,
        reason="40 against 6.50 expected, 6.1 times the usual",
        evidence=(evidence,),
    )


def reject(place: str, reason: str = "bad_json") -> Reject:
    """A dead letter."""
    return Reject(source="jsonl:x", reason=reason, detail="no JSON", raw=f"{{坏 {place}".encode(), place=place)


def small_corpus() -> list[Document]:
    """Eight posts over three hours, two of them in the same millisecond."""
    hour = HOUR
    return [
        document("p1", "上海今天下雨", "LOC/上海", at_ms=MARCH, author="a1"),
        document("p2", "海上明月,天涯共此时", at_ms=MARCH + hour, author="a2"),
        document(
            "p3",
            "周杰伦在上海开演唱会!🎤",
            "PER/周杰伦",
            "LOC/上海",
            at_ms=MARCH + hour,
            author="a3",
            pictures=(picture(),),
            counts=Counts(reposts=3, comments=2, likes=1),
            bid="Lx1",
            region="上海",
        ),
        document("p4", "北京和上海的演唱会", "LOC/北京", "LOC/上海", at_ms=MARCH + 2 * hour, author="a1"),
        document("p5", "周杰伦 iPhone 13 Pro", "PER/周杰伦", at_ms=MARCH + 2 * hour + 1, author="a4", source="other"),
        document(
            "p6", "魔都疫情", "LOC/上海", surface="魔都", at_ms=MARCH + 3 * hour, author="post:p6", author_known=False
        ),
        document("p7", "Nothing to see: <script>alert(1)</script>", at_ms=MARCH + 3 * hour + 5, author="a5"),
        document("p8", "", at_ms=MARCH + 3 * hour + 9, pictures=(picture(JPEG + b"\0"),), author="a6"),
    ]


def history(seed: int, spread_ms: int = 4 * HOUR) -> tuple[list[Document], dict[str, Document]]:
    """Versions of a few posts in random order, and the newest of each; a version may have another time of creation."""
    random_ = random.Random(seed)
    names = ["LOC/上海", "LOC/北京", "PER/周杰伦", "ORG/苹果"]
    newest: dict[str, Document] = {}
    versions: list[Document] = []
    for number in range(40):
        post_id = f"p{random_.randrange(12)}"
        chosen = random_.sample(names, random_.randrange(4))
        made = document(
            post_id,
            "".join(name.partition("/")[2] for name in chosen) + f"第{number}版",
            *chosen,
            at_ms=MARCH + random_.randrange(4) * spread_ms // 4,
            observed_ms=MARCH + number,
            edit_version=random_.randrange(3),
            source=random_.choice(["one", "two"]),
            pictures=(picture(JPEG + bytes([random_.randrange(3)])),) if random_.random() < 0.4 else (),
        )
        versions.append(made)
        if post_id not in newest or newest[post_id].version < made.version:
            newest[post_id] = made
    random_.shuffle(versions)
    return versions, newest
