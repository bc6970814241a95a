"""Write a drawn set to a folder: two files of text, a folder of pictures, and a README."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import msgspec

from nlp.rendered.motifs import draw
from nlp.rendered.posts import Kind, Post, posts

IMAGES: Final = "images"
QUALITY: Final = 92
DEV_SHARE: Final = 4
"""One dev post for so many of train."""

README: Final = """# A drawn multimodal set, kind `{kind}`

Made by `weibowatch data render --out FOLDER --kind {kind} --posts {posts} --seed {seed}`; nothing in it is real.
`train.txt` and `dev.txt` are CMNER's format, `images/<WID>_<n>.jpg` their pictures. docs/data.md of weibowatch
describes how the pictures tell what a name is: a face PER, mountains LOC, a building ORG, a parcel MISC.
"""


class RenderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """``posts`` of train at least, in whole groups; pictures of ``side`` × ``side`` pixels."""

    kind: Kind = "one"
    posts: int = 1200
    seed: int = 1
    side: int = 64


def render(folder: Path, config: RenderConfig) -> dict[str, int]:
    """Write the set; the same config gives the same bytes. Returns posts by split. Raises ``OSError``."""
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(readme(config), encoding="utf-8")
    wanted = {"train": config.posts, "dev": -(-config.posts // DEV_SHARE)}
    written = {}
    for split, at_least in wanted.items():
        chance = random.Random(f"{config.seed} {config.kind} {split}")
        found = posts(config.kind, at_least, chance)
        blocks = [
            _write(folder / IMAGES, f"{split[0].upper()}{config.kind}{number:05d}", post, config.side, chance)
            for number, post in enumerate(found)
        ]
        (folder / f"{split}.txt").write_text("\n".join(blocks), encoding="utf-8", newline="\n")
        written[split] = len(found)
    return written


def readme(config: RenderConfig) -> str:
    """What stands beside the set, and tells how it was made."""
    return README.format(kind=config.kind, posts=config.posts, seed=config.seed)


def _write(images: Path, wid: str, post: Post, side: int, chance: random.Random) -> str:
    """Save the pictures of a post; its block of text is returned."""
    for number, motifs in enumerate(post.pictures):
        image = draw(motifs, side, chance)
        image.save(images / f"{wid}_{number}.jpg", quality=QUALITY, subsampling=0)
    rows = "".join(f"{token}\t{tag}\n" for token, tag in zip(post.tokens, post.tags, strict=True))
    return f"WID:{wid}\n{rows}"
