"""Mail over a real SMTP server: what arrives, encryption, refusals for now and for good, and where it may connect."""

from __future__ import annotations

import re
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from stream.contract.ports import DeliveryError
from stream.notify.channel import Tools
from stream.notify.email import Email
from stream.notify.http import Http
from stream.notify.settings import EmailSettings
from tests.notify import mail
from tests.notify.alerts import AT_MS, HOSTILE, TEXTS, alert, hostile, telling
from tests.notify.fakes import PUBLIC_URL, tools
from tests.notify.mail import PASSWORD, USER, Mailbox


def channel(port: int, given: Tools | None = None, **changes: Any) -> Email:
    chosen = EmailSettings(
        **{
            "host": "127.0.0.1", "port": port, "security": "none", "sender": "watch@example.org",
            "to": ("a@example.org", "b@example.org"), **changes,
        }
    )  # fmt: skip
    return Email("mail", chosen, given or tools(AT_MS))


async def problem(sender: Email) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await sender.deliver(telling(alert()))
    assert PASSWORD not in str(caught.value)
    return caught.value


async def test_an_alert_arrives_in_words() -> None:
    box = Mailbox()
    async with mail.serving(box) as port:
        assert await channel(port).deliver(telling(alert())) == "accepted for 2 of 2"
        await channel(port).deliver(telling(alert(state="resolved", id="0123456789abcdef01234567-1")))
    first, second = box.mails
    assert first["Subject"] == "【触发 firing】上海 · 地点 LOC · 警告 warning"
    assert (first["From"], first["To"]) == ("watch@example.org", "a@example.org, b@example.org")
    assert first["Date"] == "Tue, 14 Nov 2023 22:13:20 -0000"
    assert first["X-Alert-Id"] == alert().id and first["Message-ID"] == f"<{alert().id}@weibowatch.invalid>"
    assert first["References"] == second["References"] and first["Message-ID"] != second["Message-ID"]
    assert box.envelopes[0] == ("watch@example.org", ["a@example.org", "b@example.org"])
    text = first.get_content()
    assert first.get_content_type() == "text/plain" and "实际 42，预期 3.20" in text and "上海今天下雨了" in text
    assert f"打开看板 Open the dashboard: {PUBLIC_URL}/entities/LOC/%E4%B8%8A%E6%B5%B7" in text


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_words_add_no_header_and_lead_nowhere(text: str) -> None:
    box = Mailbox()
    async with mail.serving(box) as port:
        await channel(port).deliver(telling(hostile(text)))
    [found] = box.mails
    assert found["Bcc"] is None and len(found.get_all("Subject", [])) == 1
    assert found.get_content_type() == "text/plain" and not found.is_multipart()
    rest = re.sub(rf"{PUBLIC_URL}/\S*", "", found.get_content())
    assert "://" not in rest and "www." not in rest and "\x1b" not in rest and "\u202e" not in rest


@given(text=TEXTS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_words_make_a_mail(text: str) -> None:
    box = Mailbox()
    async with mail.serving(box) as port:
        await channel(port).deliver(telling(hostile(text)))
    assert len(box.mails) == 1 and not box.mails[0].defects


@pytest.mark.parametrize("tls", [False, True])
async def test_login_and_words_are_encrypted(tmp_path: Path, tls: bool) -> None:
    box = Mailbox()
    pem, context = mail.certificate(tmp_path)
    security = "tls" if tls else "starttls"
    async with mail.serving(box, context, tls=tls, auth=True) as port:
        right: dict[str, Any] = {"security": security, "username": USER, "password": PASSWORD, "ca_file": str(pem)}
        await channel(port, **right, host="localhost").deliver(telling(alert()))
        assert box.encrypted == [True]
        wrong = await problem(channel(port, **{**right, "password": "wrong horse"}))
        assert wrong.lasting and "SMTP 535" in str(wrong) and "wrong horse" not in str(wrong)
        unknown = await problem(channel(port, **{**right, "ca_file": ""}))
        assert not unknown.lasting and "no TLS with 127.0.0.1: CERTIFICATE_VERIFY_FAILED" in str(unknown)
    assert len(box.mails) == 1


@pytest.mark.parametrize("tls", [False, True])
async def test_a_certificate_of_another_name_is_refused(tmp_path: Path, tls: bool) -> None:
    box = Mailbox()
    pem, context = mail.certificate(tmp_path, "DNS:mail.example")
    async with mail.serving(box, context, tls=tls) as port:
        found = await problem(channel(port, security="tls" if tls else "starttls", ca_file=str(pem)))
    assert not box.mails and "no TLS with 127.0.0.1: CERTIFICATE_VERIFY_FAILED" in str(found)


async def test_without_starttls_at_the_server_nothing_is_sent() -> None:
    box = Mailbox()
    async with mail.serving(box) as port:
        found = await problem(channel(port, security="starttls"))
    assert found.lasting and "cannot do what is asked" in str(found) and not box.mails


async def test_what_the_server_answers_decides_whether_it_is_tried_again() -> None:
    for answer, lasting in (("451 later", False), ("552 too large", True), ("554 spam\x1b[31m", True)):
        box = Mailbox()
        box.answer = answer
        async with mail.serving(box) as port:
            found = await problem(channel(port))
        assert found.lasting is lasting and str(found).isprintable() and f"SMTP {answer[:3]}" in str(found)


async def test_refused_addresses_are_told_and_the_others_have_it() -> None:
    box = Mailbox()
    box.refusals = {"b@example.org": "550 no such user"}
    async with mail.serving(box) as port:
        assert await channel(port).deliver(telling(alert())) == "accepted for 1 of 2"
        assert len(box.mails) == 1
        box.refusals["a@example.org"] = "450 greylisted"
        assert not (await problem(channel(port))).lasting
        box.refusals["a@example.org"] = "550 no such user"
        found = await problem(channel(port))
    assert found.lasting and "a@example.org: SMTP 550: no such user; b@example.org" in str(found)


async def test_only_open_addresses_are_connected_to() -> None:
    box = Mailbox()
    async with mail.serving(box) as port:
        found = await problem(channel(port, Tools(Http((), 5.0), lambda: AT_MS)))
        named = await problem(channel(port, Tools(Http((), 5.0), lambda: AT_MS), host="localhost"))
    assert found.lasting and str(found).startswith("its address is forbidden: 127.0.0.1 is this machine; open its")
    assert named.lasting and "forbidden" in str(named) and not box.mails


async def test_a_server_that_is_away_or_silent_is_tried_again() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        assert "not sent: ConnectionRefusedError" in str(await problem(channel(port)))
        silent.listen()
        started = time.monotonic()
        found = await problem(channel(port, tools(AT_MS, timeout_s=0.5)))
        assert not found.lasting and "not sent" in str(found) and time.monotonic() - started < 5


async def test_a_server_that_says_no_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"554 go away\r\n")

        threading.Thread(target=refuse, daemon=True).start()
        found = await problem(channel(listener.getsockname()[1]))
    assert found.lasting and str(found) == "SMTP 554: go away"
