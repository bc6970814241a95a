"""A real SMTP server (aiosmtpd) on loopback that keeps what it takes and refuses what it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import warnings
from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = "alerts", "correct horse battery staple"


class Mailbox:
    """``refusals``: what an address is answered with; ``answer`` to the whole message, when there is one."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.envelopes: list[tuple[str | None, list[str]]] = []
        self.encrypted: list[bool] = []
        self.refusals: dict[str, str] = {}
        self.answer = ""

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refusals:
            return self.refusals[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.answer:
            return self.answer
        assert isinstance(envelope.content, bytes)
        mail = BytesParser(policy=default).parsebytes(envelope.content)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.envelopes.append((envelope.mail_from, envelope.rcpt_tos))
        self.encrypted.append(
            server.transport is not None and server.transport.get_extra_info("sslcontext") is not None
        )
        return "250 taken"


def certificate(folder: Path, names: str = "DNS:localhost,IP:127.0.0.1") -> tuple[Path, ssl.SSLContext]:
    """(the authority's file, the context of a server of these ``names``)."""
    pem, key = folder / "server.pem", folder / "server.key"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", f"subjectAltName={names}", "-keyout", str(key), "-out", str(pem)]
    subprocess.run(["openssl", *words], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    return pem, context


def _authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False)


@contextlib.asynccontextmanager
async def serving(
    box: Mailbox, context: ssl.SSLContext | None = None, *, tls: bool = False, auth: bool = False
) -> AsyncIterator[int]:
    """The port meanwhile. ``context`` alone offers STARTTLS; with ``tls`` it is spoken from the start."""
    loop = asyncio.get_running_loop()

    def speak() -> SMTP:
        # It warns of logins without STARTTLS also where TLS is spoken from the start.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _smtp()

    def _smtp() -> SMTP:
        return SMTP(
            box, loop=loop, hostname="localhost", tls_context=None if tls else context,
            require_starttls=context is not None and not tls, auth_required=auth, auth_require_tls=auth and not tls,
            authenticator=_authenticate if auth else None,
        )  # fmt: skip

    server = await loop.create_server(speak, "127.0.0.1", 0, ssl=context if tls else None)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
