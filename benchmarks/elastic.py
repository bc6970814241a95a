"""Our writer's bulk against the bare client's, with the same documents on the same node, in turn.

Bare: ready-made bodies through ``Elasticsearch.bulk``, as many documents a request as ours, one connection.
``python -m benchmarks.elastic [--documents 20000] [--pairs 5]``
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from elasticsearch import Elasticsearch

from deploy.services.elastic import ElasticNode
from index.elastic import ElasticIndex, ElasticSettings
from index.elastic_records import document_action
from stream.contract.records import Document, Mention, Post
from tests.corpus import demo_posts

GOAL = 0.8


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--pairs", type=int, default=5)
    chosen = parser.parse_args()
    found = documents(chosen.documents)
    with tempfile.TemporaryDirectory(prefix="weibowatch-") as name:
        Path(name).chmod(0o755)  # the node runs as another user
        node = ElasticNode(Path(name) / "elastic", "8.19")
        try:
            node.start()
            ours(node, found[:2_000])  # the node warms up
            pairs = [(ours(node, found), bare(node, found)) for _ in range(chosen.pairs)]
        finally:
            node.stop()
    ratios = [one / other for one, other in pairs]
    print(f"our writer   {statistics.median(one for one, _ in pairs):8.0f} documents/s (median of {len(pairs)})")
    print(f"bare client  {statistics.median(one for _, one in pairs):8.0f} documents/s")
    print(f"ratio        {statistics.median(ratios):8.3f} (min {min(ratios):.3f}, max {max(ratios):.3f}; goal {GOAL})")


def documents(count: int) -> list[Document]:
    """The demo's texts again and again, a minute apart, with five mentions each."""
    texts = [post["text"] for post in demo_posts(pictures=False)]
    return [_document(number, texts[number % len(texts)]) for number in range(count)]


def _document(number: int, text: str) -> Document:
    at_ms = 1_640_995_200_000 + number * 60_000
    name = f"p{number}"
    post = Post(
        id=name, source="jsonl:posts.jsonl", author=f"a{number % 50}", created_ms=at_ms, observed_ms=at_ms, text=text,
        root_id=name,
    )  # fmt: skip
    mentions = tuple(
        Mention(
            post_id=name, root_id=name, author=post.author, created_ms=at_ms, observed_ms=at_ms, type="PER",
            surface=f"名{number % 97 + place}", raw_key=f"名{number % 97 + place}",
            entity=f"PER/名{number % 97 + place}", start=place, end=place + 1, confidence=0.9, simhash=number,
            model_version="m",
        )
        for place in range(5)
    )  # fmt: skip
    return Document(post=post, mentions=mentions, model_version="m")


def ours(node: ElasticNode, found: Sequence[Document]) -> float:
    """Documents a second of ``ElasticIndex.documents``, in batches as a worker has them."""
    index = ElasticIndex(ElasticSettings(url=node.url, prefix=f"o{uuid.uuid4().hex[:8]}"))
    index.ensure()
    size = ElasticSettings().bulk_documents_max
    started = time.perf_counter()
    for start in range(0, len(found), size):
        index.documents(found[start : start + size])
    took_s = time.perf_counter() - started
    index.close()
    return len(found) / took_s


def bare(node: ElasticNode, found: Sequence[Document]) -> float:
    """Documents a second of the client alone; the bodies are made before, templates are the same."""
    settings = ElasticSettings(url=node.url, prefix=f"b{uuid.uuid4().hex[:8]}")
    index = ElasticIndex(settings)
    index.ensure()
    index.close()
    lines = [document_action(settings.prefix, one, 0).lines for one in found]
    size = settings.bulk_documents_max
    bodies = [b"".join(lines[start : start + size]) for start in range(0, len(lines), size)]
    client = Elasticsearch(node.url, request_timeout=60)
    started = time.perf_counter()
    for body in bodies:
        answer = client.perform_request(
            "POST", "/_bulk", body=body, headers={"content-type": "application/x-ndjson", "accept": "application/json"}
        )
        assert not answer.body["errors"]
    took_s = time.perf_counter() - started
    client.close()
    return len(found) / took_s


if __name__ == "__main__":
    main()
