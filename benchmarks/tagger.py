"""Posts per second of the tagger that ships, in batches and one by one, on the demo corpus."""

from __future__ import annotations

import time

from nlp.tagger import load_tagger
from tests.corpus import demo_posts

BATCH = 64
ROUNDS = 3


def main() -> None:
    """Print the table."""
    texts = [post["text"] for post in demo_posts(pictures=False)]
    tagger = load_tagger()
    tagger.tag(texts[:BATCH])

    def rate(size: int) -> float:
        started = time.perf_counter()
        for start in range(0, len(texts), size):
            tagger.tag(texts[start : start + size])
        return len(texts) / (time.perf_counter() - started)

    batched = max(rate(BATCH) for _ in range(ROUNDS))
    single = max(rate(1) for _ in range(ROUNDS))
    print(f"in batches of {BATCH}  {batched:8.0f} posts/s (goal 800)")
    print(f"one by one        {single:8.0f} posts/s")
    print(f"ratio             {batched / single:8.2f}")


if __name__ == "__main__":
    main()
