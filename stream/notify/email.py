"""Mail over SMTP: plain text and charts, encrypted unless the settings say otherwise, to open addresses only."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import Any, Final

import structlog

from stream.contract.guard import ANY_PORT, ForbiddenAddress, Network, forbidden
from stream.contract.ports import DeliveryError, Telling
from stream.notify.aside import Aside
from stream.notify.channel import Tools
from stream.notify.http import FORBIDDEN, OPEN_IT, told
from stream.notify.mail_message import fill
from stream.notify.message import Style, compose
from stream.notify.settings import EmailSettings

_log = structlog.get_logger(__name__)
DOMAIN: Final = "weibowatch.invalid"
"""Right of the @ in message ids: a name that is nobody's."""
CHARTS_MAX: Final = 3
"""Charts in a mail that tells of several alerts."""
CHART_S_MAX: Final = 20.0
"""A mail waits so long for a chart."""
CHART_BYTES_MAX: Final = 1 << 20
"""Charts have about 50 kB."""


def escape(text: str) -> str:
    """A mail of plain text knows no markup; what could break its headers is gone from plain text already."""
    return text


class Email:
    """Delivers over one server."""

    def __init__(self, name: str, settings: EmailSettings, tools: Tools) -> None:
        self._name = name
        self._settings = settings
        self._tools = tools
        self._aside = Aside()
        self._secrets = (settings.password,) if settings.password else ()

    async def deliver(self, telling: Telling) -> str:
        """What was answered. Raises ``DeliveryError``."""
        message = self._message(telling, await self._charts(telling))
        try:
            refused = await self._aside(lambda: self._sent(message))
        except smtplib.SMTPRecipientsRefused as error:
            raise DeliveryError(self._refused(error.recipients), lasting=_all_lasting(error.recipients)) from None
        except smtplib.SMTPResponseException as error:
            text = f"SMTP {error.smtp_code}: {self._words(error.smtp_error)}"
            raise DeliveryError(text, lasting=500 <= error.smtp_code < 600) from None
        except smtplib.SMTPNotSupportedError as error:
            raise DeliveryError(f"the server cannot do what is asked: {told(str(error), ())}", lasting=True) from None
        except ForbiddenAddress as error:
            raise DeliveryError(f"{error}; {OPEN_IT}", lasting=True) from None
        except ssl.SSLError as error:
            raise DeliveryError(f"no TLS with {self._settings.host}: {error.reason or type(error).__name__}") from None
        except (OSError, smtplib.SMTPException) as error:
            why = getattr(error, "strerror", None) or ""
            raise DeliveryError(f"not sent: {type(error).__name__} {why}".rstrip()) from None
        if refused:
            _log.warning("mail_not_for_all", channel=self._name, problem=self._refused(refused))
        return f"accepted for {len(self._settings.to) - len(refused)} of {len(self._settings.to)}"

    async def _charts(self, telling: Telling) -> list[bytes]:
        """The course of the first alerts of ``telling``; a chart that fails, is too late or too large is left out."""
        if self._tools.chart is None:
            return []
        found = []
        newest = {flip.incident_id: flip for flip in telling.flips}
        for flip in tuple(newest.values())[:CHARTS_MAX]:
            try:
                picture = await asyncio.wait_for(self._tools.chart(flip, self._settings.language), CHART_S_MAX)
                if picture is not None and len(picture) > CHART_BYTES_MAX:
                    raise ValueError(f"the chart has {len(picture)} bytes")
            except Exception as error:  # whatever it is, people must be told of the alert
                _log.warning("mail_without_chart", channel=self._name, flip=flip.id, error=repr(error))
                continue
            if picture is not None:
                found.append(picture)
        return found

    def _message(self, telling: Telling, charts: Sequence[bytes]) -> EmailMessage:
        words = compose(telling, Style(self._settings.language, self._tools.public_url), escape)
        message = EmailMessage(policy=SMTP)
        message["Subject"] = words.title
        message["From"] = self._settings.sender
        message["To"] = ", ".join(self._settings.to)
        message["Date"] = formatdate(self._tools.now_ms() / 1000)
        message["Message-ID"] = f"<{telling.id}@{DOMAIN}>"
        incidents = dict.fromkeys(flip.incident_id for flip in telling.flips)
        message["References"] = " ".join(f"<{incident}@{DOMAIN}>" for incident in incidents)
        message["Auto-Submitted"] = "auto-generated"
        message["X-Alert-Id"] = telling.id
        fill(message, words, charts, DOMAIN)
        return message

    def _sent(self, message: EmailMessage) -> dict[str, tuple[int, bytes]]:
        """Send it, and say who was refused. Blocking."""
        chosen, timeout_s = self._settings, self._tools.http.timeout_s
        context = ssl.create_default_context(cafile=chosen.ca_file or None)
        with _Guarded(self._tools.http.allow, timeout_s, context if chosen.security == "tls" else None) as server:
            server.connect_to(chosen.host, chosen.port)
            if chosen.security == "starttls":
                server.starttls(context=context)
            if chosen.username:
                server.login(chosen.username, chosen.password)
            return server.send_message(message, chosen.sender, list(chosen.to))

    def _words(self, error: bytes | str) -> str:
        return told(error.decode("utf-8", "replace") if isinstance(error, bytes) else error, self._secrets)

    def _refused(self, recipients: dict[str, tuple[int, bytes]]) -> str:
        return "; ".join(f"{who}: SMTP {code}: {self._words(said)}" for who, (code, said) in recipients.items())[:500]


def _all_lasting(recipients: dict[str, tuple[int, bytes]]) -> bool:
    return all(500 <= code < 600 for code, _ in recipients.values())


class _Guarded(smtplib.SMTP):
    """The library's client, with sockets that are judged. ``context``: TLS from the start."""

    def __init__(self, allow: Sequence[Network], timeout_s: float, context: ssl.SSLContext | None) -> None:
        self._allow = allow
        self._context = context
        super().__init__(timeout=timeout_s)

    def connect_to(self, host: str, port: int) -> None:
        """As ``connect``, which does not tell ``starttls`` the server's name, nor raise for what the server answers."""
        self._host = host
        code, said = self.connect(host, port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, said)

    def _get_socket(self, host: str, port: int, timeout: float) -> Any:
        """A connection to the first of the host's addresses that is open and answers; this is where they are judged."""
        problem: OSError = OSError(f"{host} has no address")
        for family, kind, protocol, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            if reason := forbidden(str(place[0]), int(place[1]), self._allow, ANY_PORT):
                problem = ForbiddenAddress(f"{FORBIDDEN}: {reason}")
                continue
            connected = socket.socket(family, kind, protocol)
            try:
                connected.settimeout(timeout)
                connected.connect(place)
                return self._context.wrap_socket(connected, server_hostname=host) if self._context else connected
            except OSError as error:
                connected.close()
                problem = error
        raise problem
