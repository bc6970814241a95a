"""One request of a channel: only to addresses that are open, followed nowhere, bounded in time and bytes.

No text that comes out of here holds the address that was asked: those have keys in them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver

from stream.contract.guard import ANY_PORT, ForbiddenAddress, Network, forbidden
from stream.contract.ports import DeliveryError
from stream.notify.words import clip, plain

USER_AGENT: Final = "weibowatch/0.1 (+https://github.com/weibowatch/weibowatch)"
BODY_BYTES_MAX: Final = 65_536
RETRY_AFTER_S_MAX: Final = 3_600.0
SAID_CHARS_MAX: Final = 200
FORBIDDEN: Final = "its address is forbidden"
OPEN_IT: Final = "open its network in notify.allow if it is yours"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back. ``body`` is cut at ``BODY_BYTES_MAX``; ``retry_after_s`` 0 when nothing was asked for."""

    status: int
    body: bytes
    retry_after_s: float = 0.0


class Codes(msgspec.Struct, frozen=True, kw_only=True):
    """How a service tells what came of it in the body of an answer that may well be a 200.

    ``code`` and ``text`` are names of fields; 0 is success, ``lasting`` codes must be mended by a person, those of
    ``busy`` ask for so many seconds of peace; others are tried again.
    """

    code: str
    text: str
    lasting: frozenset[int]
    busy: Mapping[int, float]


class Http:
    """Asks with POST. ``allow``: networks besides the public ones; ``resolver``: other than the system's."""

    def __init__(
        self, allow: Sequence[Network] = (), timeout_s: float = 10.0, resolver: AbstractResolver | None = None
    ) -> None:
        self.allow = allow
        self.timeout_s = timeout_s
        self._resolver = resolver

    async def post(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """``body``, JSON unless ``headers`` say otherwise, to ``url``. Raises ``DeliveryError`` without an answer."""
        try:
            return await asyncio.wait_for(self._asked(url, body, headers or {}), self.timeout_s)
        except (asyncio.TimeoutError, TimeoutError):
            raise DeliveryError(f"no answer within {self.timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _no_answer(error) from None

    async def _asked(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        connector = aiohttp.TCPConnector(socket_factory=self._socket, resolver=self._resolver, force_close=True)
        sent = {
            "User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Content-Type": "application/json", **headers,
        }  # fmt: skip
        async with (
            # Alerts are rare: a connection for each keeps nothing open, and one target's trouble from another.
            aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None),
            ) as session,
            session.post(url, data=body, headers=sent, allow_redirects=False) as response,
        ):  # fmt: skip
            found = bytearray()
            while len(found) < BODY_BYTES_MAX and (block := await response.content.read(BODY_BYTES_MAX)):
                found += block
            retry_after_s = _retry_after_s(response.headers.get("Retry-After", ""), response.headers.get("Date", ""))
            return Answer(status=response.status, body=bytes(found[:BODY_BYTES_MAX]), retry_after_s=retry_after_s)

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        """A socket for an address that the connector is about to connect to; this is where it is judged."""
        family, kind, protocol, _, place = address
        if reason := forbidden(str(place[0]), int(place[1]), self.allow, ANY_PORT):
            raise ForbiddenAddress(f"{FORBIDDEN}: {reason}")
        return socket.socket(family, kind, protocol)


def judged(answer: Answer, secrets: Sequence[str]) -> str:
    """What was said when the status is a success. Raises ``DeliveryError`` for any other status."""
    said = quoted(answer, secrets)
    status = answer.status
    if 200 <= status < 300:
        return said
    if 300 <= status < 400:
        raise DeliveryError(f"HTTP {status}: it sends on elsewhere; write the final address", lasting=True)
    lasting = _refused(status)
    raise DeliveryError(said, lasting=lasting, retry_after_s=0.0 if lasting else answer.retry_after_s)


def judged_by_code(answer: Answer, codes: Codes, secrets: Sequence[str]) -> str:
    """What was said when the code in the body is 0. Raises ``DeliveryError`` for any other, and where there is none."""
    try:
        body = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = None
    code = body.get(codes.code) if isinstance(body, dict) else None
    if type(code) is not int:
        judged(answer, secrets)
        raise DeliveryError(f"it answered without {codes.code}: {quoted(answer, secrets)}")
    text = told(str(body.get(codes.text, "")), secrets)
    if code in codes.busy:
        pause_s = max(codes.busy[code], answer.retry_after_s)
        raise DeliveryError(f"{codes.code} {code}: {text}", retry_after_s=pause_s)
    if code != 0:
        lasting = code in codes.lasting or _refused(answer.status)
        raise DeliveryError(f"{codes.code} {code}: {text}", lasting=lasting, retry_after_s=answer.retry_after_s)
    judged(answer, secrets)
    return f"{codes.code} 0: {text}"


def _refused(status: int) -> bool:
    """Whether the same request would be refused again."""
    return 400 <= status < 500 and status not in (408, 429)


def quoted(answer: Answer, secrets: Sequence[str]) -> str:
    """Status and begin of the body in one line, without ``secrets``."""
    said = told(answer.body[: 8 * SAID_CHARS_MAX].decode("utf-8", "replace"), secrets)
    return f"HTTP {answer.status}{': ' if said else ''}{said}"


def told(text: str, secrets: Sequence[str]) -> str:
    """What somebody else said, in one short line without ``secrets``."""
    text = plain(text)
    for secret in secrets:
        text = text.replace(secret, "***")
    return clip(text, SAID_CHARS_MAX)


def keys_of(url: str, *more: str) -> tuple[str, ...]:
    """What must not be told: of an address all that may be a key, and ``more``. Longest first, none inside another.

    Short pieces such as ``send`` stand in every answer, and are no keys.
    """
    parts = urlsplit(url)
    values = [pair.partition("=")[2] for pair in parts.query.split("&")]
    pieces = [url, parts.path, f"{parts.path}?{parts.query}", parts.query, *parts.path.split("/"), *values]
    long = [piece for piece in pieces if len(piece) >= 8] + [piece for piece in more if len(piece) >= 4]
    return tuple(sorted({form for piece in long for form in (piece, plain(piece))}, key=len, reverse=True))


def _no_answer(error: Exception) -> DeliveryError:
    """An error of the network in words that do not quote the address."""
    if isinstance(error, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, ValueError)):
        return DeliveryError("its url is no address of the web", lasting=True)
    # A name with several addresses gives one error that quotes them all, so only the text can tell.
    text = str(getattr(error, "os_error", error))
    _, found, reason = text.partition(FORBIDDEN)
    if found:
        return DeliveryError(f"{clip(found + reason, SAID_CHARS_MAX)}; {OPEN_IT}", lasting=True)
    why = getattr(getattr(error, "os_error", None), "strerror", None)
    return DeliveryError(f"not sent: {type(error).__name__}{f' ({clip(plain(why), SAID_CHARS_MAX)})' if why else ''}")


def _retry_after_s(text: str, date: str) -> float:
    """Seconds that ``Retry-After`` asks for, as a number or as a time against the answer's own; 0 for anything else."""
    try:
        seconds = float(text) if text.strip().isdigit() else _between(date, text)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), RETRY_AFTER_S_MAX)


def _between(date: str, then: str) -> float:
    return (parsedate_to_datetime(then) - parsedate_to_datetime(date)).total_seconds()
