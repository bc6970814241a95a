"""Both outboxes, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notify.outboxes import Clock, Clustered, Embedded, Kept


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["embedded", "cluster"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Kept]:
    if request.param == "cluster":
        yield Clustered(clock)
        return
    embedded = Embedded(tmp_path, clock)
    yield embedded
    embedded.close()
