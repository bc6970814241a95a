"""``ports.Metrics`` that remembers, for tests."""

from __future__ import annotations

from collections import Counter

from stream.contract.signals import Name


class Counting:
    """Counts by name and the values of the labels."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()

    def count(self, name: Name, amount: int = 1, **labels: str) -> None:
        self.counts[(name, *labels.values())] += amount

    def observe(self, name: Name, value: float) -> None:
        raise AssertionError(name)

    def gauge(self, name: Name, value: float, **labels: str) -> None:
        raise AssertionError(name)

    def retries(self) -> dict[str, int]:
        """How often something had to be tried again, by cause."""
        return {key[1]: count for key, count in self.counts.items() if key[0] == "weibowatch_index_retries_total"}
