"""What people order from a running cluster, written into its topics: aliases, dead letters to be tried again."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.settings import Settings
from index.elastic import ElasticIndex
from stream.contract import codec
from stream.contract.records import Control, Reach, Record, Reject
from stream.runtime import outbox
from stream.runtime.ingest import controls_in_force, messages, partitions_of
from stream.runtime.kafka import read_compacted, write_keyed
from stream.runtime.outbox import Delivery
from stream.runtime.topics import Names


def hand_over(settings: Settings, usable: Sequence[tuple[Record, Reject]]) -> None:
    """Write records into the log, then remove the dead letters that they were made of. Blocking.

    Killed in between, both stay, and trying the letter again changes nothing: the post is known by its id.
    Raises ``KafkaProblem``, ``ElasticError``.
    """
    if not usable:
        return
    _write(settings, [record for record, _ in usable])
    index = ElasticIndex(settings.elastic)
    try:
        index.forget_rejects([letter for _, letter in usable])
    finally:
        index.close()


def leave(settings: Settings, sources: Sequence[str], now_ms: int) -> None:
    """Tell every partition that ``sources`` are fed no more, as an ingester does that is stopped. Blocking.

    For one that was killed and never comes back: its last mark would hold the watermark for ever. Raises
    ``KafkaProblem``.
    """
    _write(settings, [Reach(source=source, through_ms=0, state="left", session=now_ms) for source in sources])


def in_force(settings: Settings, topic: str) -> Control | None:
    """The newest control of ``topic``. Blocking. Raises ``KafkaProblem``."""
    return controls_in_force(settings.kafka).get(topic)


def announce(settings: Settings, control: Control) -> None:
    """Write ``control`` into every partition of the log; it is not kept as one in force. Blocking.

    Raises ``KafkaProblem``.
    """
    _write(settings, [control])


def put_in_force(settings: Settings, control: Control) -> None:
    """Write ``control`` into every partition of the log, then note that it is in force. Blocking.

    Killed in between, the same is written again: a control that repeats changes nothing. Raises ``KafkaProblem``.
    """
    _write(settings, [control])
    controls = Names(settings.kafka.prefix).controls
    write_keyed(settings.kafka, controls, [(0, control.topic.encode(), codec.encode(control))])


def delete(settings: Settings, order: Control) -> None:
    """Tell all who keep something to delete it: ``order`` into the log, behind every report, among the alerts.

    Blocking. Raises ``KafkaProblem``.
    """
    names, data = Names(settings.kafka.prefix), codec.encode(order)
    every = range(partitions_of(settings.kafka))
    write_keyed(settings.kafka, names.flips, [(number, None, data) for number in every])
    _write(settings, [order])
    write_keyed(settings.kafka, names.reports, [(0, None, data)])


def deliveries(settings: Settings, channel: str) -> list[Delivery]:
    """All that the outbox knows of, of ``channel`` only when it is named. Blocking. Raises ``KafkaProblem``."""
    changelog = Names(settings.kafka.prefix).changelog("outbox")
    rows = read_compacted(settings.kafka, changelog)
    return outbox.deliveries(((key.decode(), row) for _, key, row in rows), channel)


def try_again(settings: Settings, channel: str, now_ms: int) -> None:
    """Tell the workers of all partitions to deliver dead letters again. Blocking. Raises ``KafkaProblem``."""
    order = codec.encode(Control(topic=outbox.RETRY, version=now_ms, payload=channel))
    flips = Names(settings.kafka.prefix).flips
    write_keyed(settings.kafka, flips, [(number, None, order) for number in range(partitions_of(settings.kafka))])


def _write(settings: Settings, records: Sequence[Record]) -> None:
    """``records`` into the log; returns when the brokers have them."""
    posts = Names(settings.kafka.prefix).posts
    sent = messages(posts, partitions_of(settings.kafka), records)
    write_keyed(settings.kafka, posts, [(one.partition or 0, None, one.value) for one in sent])
