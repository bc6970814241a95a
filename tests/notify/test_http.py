"""The one request of a channel: where it may go, how long and how much it may take, and what errors tell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from stream.contract.ports import DeliveryError
from stream.notify.http import BODY_BYTES_MAX, Answer, Codes, Http, judged, judged_by_code, keys_of
from tests.ingest.wires import Names, cut
from tests.notify.fakes import LOOPBACK, Fault, Hook

CODES = Codes(code="errcode", text="errmsg", lasting=frozenset({310000}), busy={130101: 600.0})
KEY = "5e8c0ffee5e8c0ffee"


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    fake = Hook()
    async with fake.serving():
        yield fake


async def problem(hook: Hook, *faults: Fault) -> DeliveryError:
    """What a request to a ``hook`` with ``faults`` fails with, where a status is judged."""
    hook.faults = list(faults)
    url = f"{hook.url}/robot/send?access_token={KEY}"
    with pytest.raises(DeliveryError) as caught:
        judged(await Http(LOOPBACK, 1.0).post(url, b"{}"), keys_of(url))
    assert KEY not in str(caught.value) and KEY not in repr(caught.value.__cause__)
    return caught.value


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00::1"])
async def test_without_leave_only_public_addresses_are_connected_to(address: str) -> None:
    tried = cut(asyncio.get_running_loop())
    literal = f"[{address}]" if ":" in address else address
    for url, resolver in ((f"http://{literal}/x", None), ("https://hooks.example/x", Names(address))):
        with pytest.raises(DeliveryError, match=r"its address is forbidden: .*notify\.allow") as caught:
            await Http((), 5.0, resolver).post(url, b"{}")
        assert caught.value.lasting
    assert not tried


async def test_a_name_is_judged_by_the_address_that_is_connected_to() -> None:
    tried = cut(asyncio.get_running_loop())
    http = Http((), 5.0, Names("93.184.215.14", "127.0.0.1"))
    with pytest.raises(DeliveryError, match="not sent") as caught:
        await http.post("http://hooks.example:8443/x", b"{}")
    assert not caught.value.lasting, "a refused connection is tried again"
    with pytest.raises(DeliveryError, match="forbidden"):
        await http.post("http://hooks.example:8443/x", b"{}")
    assert tried == ["93.184.215.14"]


async def test_what_was_sent_and_what_came_back(hook: Hook) -> None:
    answer = await Http(LOOPBACK).post(f"{hook.url}/a?b=c", b'{"x":1}', {"X-Alert-Id": "i-1"})
    assert judged(answer, ()) == "HTTP 200: thank you"
    [(path, headers, body)] = hook.asked
    assert (path, body, headers["Content-Type"]) == ("/a?b=c", b'{"x":1}', "application/json")
    assert headers["X-Alert-Id"] == "i-1" and headers["Accept-Encoding"] == "identity" and "Cookie" not in headers


@pytest.mark.parametrize("fault", ["hang", "drip"])
async def test_a_slow_answer_is_given_up_and_tried_again(hook: Hook, fault: Fault) -> None:
    started = time.monotonic()
    found = await problem(hook, fault)
    assert str(found) == "no answer within 1 s" and not found.lasting
    assert time.monotonic() - started < 5


async def test_a_redirect_is_not_followed(hook: Hook) -> None:
    found = await problem(hook, "redirect")
    assert found.lasting and "HTTP 302" in str(found)
    assert len(hook.asked) == 1 and hook.elsewhere == 0


@pytest.mark.parametrize("fault", ["huge", "endless"])
async def test_an_answer_without_end_is_read_to_the_limit_only(hook: Hook, fault: Fault) -> None:
    hook.faults = [fault]
    answer = await Http(LOOPBACK, 5.0).post(hook.url, b"{}")
    assert len(answer.body) == BODY_BYTES_MAX
    with pytest.raises(DeliveryError, match="without errcode") as caught:
        judged_by_code(answer, CODES, ())
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("fault", "lasting", "retry_after_s"), [("500", False, 7), ("503", False, 7), ("429", False, 7), ("404", True, 0)]
)
async def test_what_a_status_means(hook: Hook, fault: Fault, lasting: bool, retry_after_s: float) -> None:
    found = await problem(hook, fault)
    assert (found.lasting, found.retry_after_s) == (lasting, retry_after_s)
    assert str(found) == f"HTTP {fault}: no: ***", "the service has quoted the address"


async def test_a_connection_that_breaks_off_and_one_that_is_refused_are_tried_again(hook: Hook) -> None:
    assert not (await problem(hook, "cut")).lasting
    with pytest.raises(DeliveryError, match=r"not sent: ClientConnectorError") as caught:
        await Http(LOOPBACK).post(f"http://127.0.0.1:1/{KEY}", b"")
    assert not caught.value.lasting and KEY not in str(caught.value)


@pytest.mark.parametrize("url", [f"http://[::x/{KEY}", f"ftp://127.0.0.1/{KEY}", f"http:///{KEY}", f"/{KEY}"])
async def test_what_is_no_address_is_a_lasting_failure_without_its_text(url: str) -> None:
    with pytest.raises(DeliveryError) as caught:
        await Http(LOOPBACK).post(url, b"")
    assert caught.value.lasting and KEY not in str(caught.value)


def answered(body: bytes, status: int = 200, retry_after_s: float = 0.0) -> DeliveryError | str:
    try:
        return judged_by_code(Answer(status=status, body=body, retry_after_s=retry_after_s), CODES, (KEY,))
    except DeliveryError as error:
        return error


def test_the_code_in_the_body_is_what_counts() -> None:
    assert answered(b'{"errcode":0,"errmsg":"ok"}') == "errcode 0: ok"
    for body, status, lasting, pause_s in [
        (b'{"errcode":310000,"errmsg":"sign not match"}', 200, True, 0),
        (b'{"errcode":130101,"errmsg":"send too fast"}', 200, False, 600),
        (b'{"errcode":130101,"errmsg":"send too fast"}', 429, False, 600),
        (b'{"errcode":-1,"errmsg":"busy"}', 200, False, 0),
        (b'{"errcode":7,"errmsg":"?"}', 400, True, 0),
        (b'{"errcode":0,"errmsg":"ok"}', 500, False, 0),
        (b'{"errcode":"0"}', 200, False, 0), (b'{"errcode":true}', 200, False, 0), (b"{}", 200, False, 0),
        (b"[]", 200, False, 0), (b"", 200, False, 0), (b"\xff\xfe", 200, False, 0), (b"null", 404, True, 0),
    ]:  # fmt: skip
        found = answered(body, status)
        assert isinstance(found, DeliveryError), body
        assert (found.lasting, found.retry_after_s) == (lasting, pause_s), body


def test_what_a_service_says_is_told_short_in_one_line_and_without_keys() -> None:
    found = answered(b'{"errcode":-1,"errmsg":"\\u001b[31mno ' + KEY.encode() + b"\\n" + b"x" * 999 + b'"}')
    text = str(found)
    assert text.startswith("errcode -1: [31mno *** xxx") and len(text) < 300 and text.isprintable()


def test_no_part_of_an_address_that_may_be_a_key_is_left() -> None:
    url = "https://hooks.slack.example/services/T0000001/B00000001/abcdEFGH12345678"
    assert {"abcdEFGH12345678", "B00000001", "/services/T0000001/B00000001/abcdEFGH12345678"} <= set(keys_of(url))
    assert set(keys_of("https://x.example/send?key=693a91f6-7xxx", "SECx")) >= {"693a91f6-7xxx", "SECx"}
    assert "send" not in keys_of("https://x.example/send")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", 0), ("120", 120), ("999999", 3600), ("-5", 0), ("soon", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", None)],
)
async def test_how_long_to_wait(hook: Hook, header: str, seconds: float | None) -> None:
    from stream.notify.http import _retry_after_s

    found = _retry_after_s(header, "Wed, 21 Oct 2015 07:27:30 GMT")
    assert found == (30 if seconds is None else seconds)
