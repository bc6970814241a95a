"""A dead letter of a source of Weibo, read once more."""

from __future__ import annotations

from ingest.clean import Edge, Refusal, clean, reject
from ingest.weibo.payload import ReplyError, Shown, statuses
from ingest.weibo.search_page import found_posts
from stream.contract.records import Post, Reject, replace


def weibo_again(letter: Reject, edge: Edge) -> Post | Reject:
    """The post in the bytes of ``letter``, or its Reject under ``edge``; times count from when it was seen."""
    found: list[Shown] = []
    refusal = Refusal("bad_json", "there is no post in it")
    read = found_posts if letter.raw.lstrip()[:1] == b"<" else statuses
    try:
        for one in read(letter.raw, letter.observed_ms):
            if isinstance(one, Shown):
                found.append(one)
            else:
                refusal = one.refusal
    except ReplyError as error:
        refusal = Refusal("bad_json", str(error))
    if found:
        try:
            # The repost stands behind its original.
            return clean(found[-1].raw, edge)
        except Refusal as error:
            refusal = error
    again: Reject = replace(reject(refusal, edge, letter.raw, letter.place), observed_ms=letter.observed_ms)
    return again
