"""Build the demo corpus from CMNER: ``python -m ingest.demo.build [../shared/data/cmner]``.

The same data gives the same bytes (with the same Pillow for the pictures). Each line is a post as ``jsonl.md``
describes, with ``tags`` (BIO, one per code point of ``text``) and ``split`` for evaluation, which sources ignore.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ingest.clean import EdgeSettings
from ingest.ids import created_ms_from_mid, mid_from_bid
from ingest.images import small_picture

HERE: Final = Path(__file__).parent
_BYTES_MAX: Final = 48_000


def main(folder: Path) -> None:
    """Write ``posts.jsonl.gz`` and ``LICENSE-CMNER`` beside this script."""
    lines = [*_posts(folder / "dev.txt", "dev"), *_posts(folder / "example_posts.txt", "examples", folder / "images")]
    lines.sort(key=lambda line: (line["created_at"], line["bid"]))
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    (HERE / "posts.jsonl.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    (HERE / "LICENSE-CMNER").write_bytes((folder / "LICENSE").read_bytes())
    print(f"{len(lines)} posts, {sum(len(line.get('pictures', ())) for line in lines)} pictures")


def _posts(path: Path, split: str, images: Path | None = None) -> Iterator[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    for block in text.replace("\r\n", "\n").strip().split("\n\n"):
        header, *rows = block.strip("\n").split("\n")
        bid = header.removeprefix("WID:").strip()
        pairs = [row.split("\t") for row in rows if row]
        mid = mid_from_bid(bid)
        post: dict[str, Any] = {
            "id": mid,
            "mid": mid,
            "bid": bid,
            "created_at": created_ms_from_mid(mid) // 1000,
            "text": "".join(token for token, _ in pairs),
            "split": split,
            "tags": " ".join(tag for _, tag in pairs),
        }
        if images:
            post["pictures"] = [_picture(path) for path in sorted(images.glob(f"{bid}_*.jpg"))]
        yield post


def _picture(path: Path) -> dict[str, Any]:
    small = small_picture(path.read_bytes(), path.stem, "", EdgeSettings(), _BYTES_MAX)
    if small.problem:
        raise SystemExit(f"{path}: {small.problem}")
    data = base64.b64encode(small.jpeg).decode()
    return {"id": path.stem, "width": small.width, "height": small.height, "data": data}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/cmner"))
