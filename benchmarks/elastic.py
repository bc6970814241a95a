"""Our writer's bulk against the bare client's, with the same documents on the same node.

They take turns with every request, so that whatever else the machine does slows both alike. Bare: the client's own
``helpers.bulk`` with ready-made bodies as dictionaries, as many a request as ours, as little of the answer asked for.
Below it: ready-made bytes, which is what the node takes from one connection when the client has nothing to do; ours
also makes the bodies out of records, and looks for older versions in other months.
``python -m benchmarks.elastic [--documents 20000] [--rounds 5]``
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from elasticsearch import Elasticsearch, helpers

from deploy.services.elastic import ElasticNode
from index.elastic import ElasticIndex, ElasticSettings
from index.elastic_bulk import ANSWER
from index.elastic_records import document_action
from stream.contract.records import Document, Mention, Post
from tests.corpus import demo_posts

GOAL: Final = 0.8
WARM_DOCUMENTS: Final = 4_000
DOCUMENTS_AT_ONCE: Final = ElasticSettings().bulk_documents_max


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
            measured(node, found[:WARM_DOCUMENTS], 0)
            rounds = [measured(node, found, turn) for turn in range(chosen.rounds)]
        finally:
            node.stop()
    for name in CONTENDERS:
        rates = [len(found) / one[name] for one in rounds]
        print(f"{name:13}{statistics.median(rates):8.0f} documents/s (median of {len(rounds)})")
    for name in ("bare client", "ready bytes"):
        ratios = [one[name] / one["our writer"] for one in rounds]
        goal = f"; goal {GOAL}" if name == "bare client" else ""
        spread = f"min {min(ratios):.3f}, max {max(ratios):.3f}{goal}"
        print(f"our writer ÷ {name}  {statistics.median(ratios):.3f} ({spread})")


def measured(node: ElasticNode, found: Sequence[Document], turn: int) -> dict[str, float]:
    """Seconds of each for all of ``found``; who begins changes from request to request."""
    parts = [found[start : start + DOCUMENTS_AT_ONCE] for start in range(0, len(found), DOCUMENTS_AT_ONCE)]
    took_s = dict.fromkeys(CONTENDERS, 0.0)
    with ExitStack() as stack:
        sends = [(name, stack.enter_context(make(node, parts))) for name, make in CONTENDERS.items()]
        for number in range(len(parts)):
            first = (turn + number) % len(sends)
            for name, send in sends[first:] + sends[:first]:
                started = time.perf_counter()
                send(number)
                took_s[name] += time.perf_counter() - started
    return took_s


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


Parts = Sequence[Sequence[Document]]
Send = Callable[[int], None]
"""Sends the part of this number and waits until it is taken."""


@contextmanager
def ours(node: ElasticNode, parts: Parts) -> Iterator[Send]:
    """``ElasticIndex.documents``, in batches as a worker has them."""
    index = ElasticIndex(ElasticSettings(url=node.url, prefix=f"o{uuid.uuid4().hex[:8]}"))
    index.ensure()

    def send(number: int) -> None:
        assert index.documents(parts[number]) == len(parts[number])

    yield send
    index.close()


@contextmanager
def bare(node: ElasticNode, parts: Parts) -> Iterator[Send]:
    """``helpers.bulk``; templates and bodies are the same."""
    prefix = _ready(node)
    actions = [[_action(prefix, one) for one in part] for part in parts]
    client = Elasticsearch(node.url, request_timeout=60)

    def send(number: int) -> None:
        done, _ = helpers.bulk(client, actions[number], chunk_size=DOCUMENTS_AT_ONCE, filter_path=ANSWER)
        assert done == len(actions[number])

    yield send
    client.close()


def _action(prefix: str, document: Document) -> dict[str, Any]:
    head, body = (json.loads(line) for line in document_action(prefix, document, 0).lines.splitlines())
    return {**head["index"], "_source": body}


@contextmanager
def ready(node: ElasticNode, parts: Parts) -> Iterator[Send]:
    """The bytes of all requests are made before."""
    prefix = _ready(node)
    bodies = [b"".join(document_action(prefix, one, 0).lines for one in part) for part in parts]
    client = Elasticsearch(node.url, request_timeout=60)
    params = {"filter_path": ANSWER}

    def send(number: int) -> None:
        answer = client.perform_request("POST", "/_bulk", params=params, body=bodies[number], headers=_HEADERS)
        assert all(item["index"]["status"] == 201 for item in answer.body["items"])

    yield send
    client.close()


def _ready(node: ElasticNode) -> str:
    """A new prefix with its templates."""
    settings = ElasticSettings(url=node.url, prefix=f"b{uuid.uuid4().hex[:8]}")
    index = ElasticIndex(settings)
    index.ensure()
    index.close()
    return settings.prefix


_VENDOR: Final = "application/vnd.elasticsearch+{}; compatible-with=9"
_HEADERS: Final = {"content-type": _VENDOR.format("x-ndjson"), "accept": _VENDOR.format("json")}
CONTENDERS: Final = {"our writer": ours, "bare client": bare, "ready bytes": ready}


if __name__ == "__main__":
    main()
