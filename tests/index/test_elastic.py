"""The Elasticsearch index on real nodes: the laws."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from deploy.services.elastic import ElasticNode
from tests.index.contract import IndexLaws
from tests.index.elastic_store import ElasticStore


@pytest.fixture
def make_index(any_elastic: ElasticNode) -> Iterator[Callable[[], ElasticStore]]:
    made: list[ElasticStore] = []

    def make() -> ElasticStore:
        made.append(ElasticStore(any_elastic))
        return made[-1]

    yield make
    for store in made:
        store.close()


class TestElasticKeepsTheLaws(IndexLaws):
    pass
