"""What the user writes: ``weibo:user:1234567890``, ``weibo:search:词``, ``weibo:topic:名``, ``weibo:hot`` … Pure."""

from __future__ import annotations

import re
from typing import Final, Literal, get_args
from urllib.parse import unquote

import msgspec

from ingest.fields import read_time_ms
from ingest.ids import mid_from_bid
from stream.contract.ports import SourceError

Kind = Literal["user", "search", "topic", "hot", "post", "list"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
PREFIX: Final = "weibo:"
HELP: Final = (
    "weibo:user:UID, weibo:search:WORDS, weibo:topic:NAME (each with ?since=DAY&until=DAY to go back in time), "
    "weibo:hot, weibo:post:MID|BID|URL, weibo:list:FILE (one of these a line)"
)
_WORDS_MAX: Final = 100
_RANGE: Final = re.compile(r"\?(?=(?:since|until)=)")
_POST_URL: Final = re.compile(
    r"https?://(?:(?:www\.)?weibo\.com/\d+|m\.weibo\.cn/(?:detail|status|\d+))/([0-9A-Za-z]+)(?:[/?#].*)?", re.ASCII
)
_USER_URL: Final = re.compile(
    r"https?://(?:(?:www\.)?weibo\.com|m\.weibo\.cn)/(?:u/|profile/)?(\d{5,12})(?:[/?#].*)?", re.ASCII
)
_BID: Final = re.compile(r"[0-9A-Za-z]{6,12}", re.ASCII)


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """A source. ``name`` is how it is called everywhere; ``target`` a uid, words, a mid or a path.

    ``since_ms`` and ``until_ms`` bound when its posts were written, 0 not at all.
    """

    name: str
    kind: Kind
    target: str = ""
    since_ms: int = 0
    until_ms: int = 0

    @property
    def words(self) -> str:
        """What is searched for."""
        return f"#{self.target}#" if self.kind == "topic" else self.target


def parse_spec(text: str) -> Spec:
    """The source behind ``text``. Raises ``SourceError`` with what can be written."""
    kind, _, rest = text.removeprefix(PREFIX).partition(":")
    if not text.startswith(PREFIX) or kind not in KINDS or (kind == "hot") == bool(rest):
        raise SourceError(f"there is no source {text!r}. There are: {HELP}")
    if kind == "hot":
        return Spec(name=text, kind="hot")
    if kind == "list":
        return Spec(name=text, kind="list", target=rest)
    target, since_ms, until_ms = _range(text, rest)
    found: Kind = "user" if kind == "user" else "post" if kind == "post" else "topic" if kind == "topic" else "search"
    if found == "post":
        if since_ms or until_ms:
            raise SourceError(f"{text}: a post has no since and until")
        mid = _mid(text, target)
        return Spec(name=f"{PREFIX}post:{mid}", kind=found, target=mid)
    if found == "user":
        match = _USER_URL.fullmatch(target)
        target = match[1] if match else target.removeprefix("u/")
        if not target.isascii() or not target.isdigit() or not 5 <= len(target) <= 12:
            raise SourceError(f"{text}: a user is named by the number in https://weibo.com/u/NUMBER")
        return Spec(name=text, kind=found, target=target, since_ms=since_ms, until_ms=until_ms)
    words = target.strip().strip("#").strip() if found == "topic" else target.strip()
    if not words or len(words) > _WORDS_MAX or not words.isprintable():
        raise SourceError(f"{text}: give 1 to {_WORDS_MAX} characters to search for")
    return Spec(name=text, kind=found, target=words, since_ms=since_ms, until_ms=until_ms)


def _mid(text: str, target: str) -> str:
    match = _POST_URL.fullmatch(target)
    name = match[1] if match else target
    if name.isascii() and name.isdigit() and 9 <= len(name) <= 19:
        return name
    if _BID.fullmatch(name):
        try:
            return mid_from_bid(name)
        except ValueError:
            pass
    raise SourceError(f"{text}: a post is named by its mid, its bid or its address on weibo.com or m.weibo.cn")


def _range(text: str, rest: str) -> tuple[str, int, int]:
    """(target, since, until)."""
    target, *query = _RANGE.split(rest, maxsplit=1)
    found = {"since": 0, "until": 0}
    for part in query[0].split("&") if query else ():
        name, _, value = part.partition("=")
        value = unquote(value)  # + stays: it belongs to a zone
        if name not in found:
            raise SourceError(f"{text}: {name} is not known here; since and until are")
        try:
            found[name] = read_time_ms(value if "T" in value else f"{value}T00:00:00+08:00")
        except ValueError:
            raise SourceError(
                f"{text}: {name}={value} is no day: write 2026-11-01, or 2026-11-01T08:00:00+08:00"
            ) from None
    since_ms, until_ms = found["since"], found["until"]
    if until_ms and (not since_ms or since_ms >= until_ms):
        raise SourceError(f"{text}: until needs a since before it")
    return target, since_ms, until_ms


def read_list(text: str) -> tuple[list[Spec], list[str]]:
    """(sources, errors with their line) of a list: one source a line, # begins a comment. Each source once."""
    specs: dict[str, Spec] = {}
    errors: list[str] = []
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("# ") or line == "#":
            continue
        try:
            spec = parse_spec(line)
            if spec.kind == "list":
                raise SourceError("a list cannot hold another list")
        except SourceError as error:
            errors.append(f"line {number}: {error}")
            continue
        specs.setdefault(spec.name, spec)
    return list(specs.values()), errors
