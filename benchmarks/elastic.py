"""Our writer's bulk against the bare client's, with the same documents on the same node, in turn.

Bare: the client's own ``helpers.bulk`` with ready-made bodies as dictionaries, as many a request as ours, as little of
the answer asked for. Below it: ready-made bytes, which is what the node takes from one connection when the client has
nothing to do; ours also makes the bodies out of records, and looks for older versions in other months.
``python -m benchmarks.elastic [--documents 20000] [--rounds 5]``
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from elasticsearch import Elasticsearch, helpers

from deploy.services.elastic import ElasticNode
from index.elastic import ElasticIndex, ElasticSettings
from index.elastic_bulk import ANSWER
from index.elastic_records import document_action
from stream.contract.records import Document, Mention, Post
from tests.corpus import demo_posts

GOAL = 0.8


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    found = documents(chosen.documents)
    with tempfile.TemporaryDirectory(prefix="weibowatch-") as name:
        Path(name).chmod(0o755)  # the node runs as another user
        node = ElasticNode(Path(name) / "elastic", "9")  # what ``helpers.bulk`` of our client talks to
        try:
            node.start()
            for contender in CONTENDERS.values():  # the node warms up
                contender(node, found[:2_000])
            rounds = [measured(node, found, turn) for turn in range(chosen.rounds)]
        finally:
            node.stop()
    for name in CONTENDERS:
        print(f"{name:13}{statistics.median(one[name] for one in rounds):8.0f} documents/s (median of {len(rounds)})")
    for name in ("bare client", "ready bytes"):
        ratios = [one["our writer"] / one[name] for one in rounds]
        goal = f"; goal {GOAL}" if name == "bare client" else ""
        spread = f"min {min(ratios):.3f}, max {max(ratios):.3f}{goal}"
        print(f"our writer ÷ {name}  {statistics.median(ratios):.3f} ({spread})")


def measured(node: ElasticNode, found: Sequence[Document], turn: int) -> dict[str, float]:
    """Documents a second of each; who begins changes from turn to turn."""
    names = [*CONTENDERS]
    first = turn % len(names)
    return {name: CONTENDERS[name](node, found) for name in names[first:] + names[:first]}


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
    """Documents a second of ``helpers.bulk``; templates and bodies are the same."""
    settings = _ready(node)
    size = settings.bulk_documents_max
    actions = []
    for one in found:
        head, body = (json.loads(line) for line in document_action(settings.prefix, one, 0).lines.splitlines())
        actions.append({**head["index"], "_source": body})
    client = Elasticsearch(node.url, request_timeout=60)
    started = time.perf_counter()
    done, _ = helpers.bulk(client, actions, chunk_size=size, filter_path=ANSWER)
    took_s = time.perf_counter() - started
    client.close()
    assert done == len(found)
    return len(found) / took_s


def ready(node: ElasticNode, found: Sequence[Document]) -> float:
    """Documents a second when the bytes of all requests are made before."""
    settings = _ready(node)
    size = settings.bulk_documents_max
    lines = [document_action(settings.prefix, one, 0).lines for one in found]
    bodies = [b"".join(lines[start : start + size]) for start in range(0, len(lines), size)]
    client = Elasticsearch(node.url, request_timeout=60)
    started = time.perf_counter()
    for body in bodies:
        answer = client.perform_request("POST", "/_bulk", params={"filter_path": ANSWER}, body=body, headers=_HEADERS)
        assert all(item["index"]["status"] == 201 for item in answer.body["items"])
    took_s = time.perf_counter() - started
    client.close()
    return len(found) / took_s


def _ready(node: ElasticNode) -> ElasticSettings:
    settings = ElasticSettings(url=node.url, prefix=f"b{uuid.uuid4().hex[:8]}")
    index = ElasticIndex(settings)
    index.ensure()
    index.close()
    return settings


_VENDOR: Final = "application/vnd.elasticsearch+{}; compatible-with=9"
_HEADERS: Final = {"content-type": _VENDOR.format("x-ndjson"), "accept": _VENDOR.format("json")}
CONTENDERS: Final = {"our writer": ours, "bare client": bare, "ready bytes": ready}


if __name__ == "__main__":
    main()
