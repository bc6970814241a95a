"""What is wrong when Elasticsearch and we disagree about TLS, in words that say what to mend."""

from __future__ import annotations

import socket
import ssl
from typing import Final
from urllib.parse import urlsplit

_PROBE_S: Final = 2.0
_NOT_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL")
"""What the other side's words are when they are no TLS, by version of OpenSSL."""


_CUT: Final = ("EOF_OCCURRED", "UNEXPECTED_EOF", "RESET_BY_PEER")
"""Its words when it went away meanwhile."""


def unusable_authority(ca_file: str, url: str) -> str:
    """Why ``ca_file`` can prove nothing about ``url``; empty when it can."""
    if url.startswith("http://"):
        return f"elastic.ca_file is set and elastic.url {url} begins with http://. Let it begin with https://."
    try:
        ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # that of ssl, too
        return f"elastic.ca_file {ca_file!r} cannot be used: {error}. It must hold certificates as PEM."
    return ""


def cut_short(detail: str) -> bool:
    """Whether the TLS error ``detail`` only says that the server went away."""
    return _says(detail, _CUT)


def distrust(url: str, detail: str) -> str:
    """What to say about the TLS error ``detail``."""
    if _says(detail, _NOT_TLS):
        return f"{url} does not speak TLS. Let elastic.url begin with http://, or turn TLS on there."
    return f"{url} has a certificate that is not trusted: {detail}. Check elastic.ca_file and the name in elastic.url."


def hidden_tls(url: str) -> str:
    """What to say when ``url`` begins with http:// and the server wants TLS; empty when that is not so.

    Such a server closes the connection without a word, like one that was killed; so it is asked for a handshake.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return ""
    anyone = ssl.create_default_context()
    anyone.check_hostname = False
    anyone.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((parts.hostname, parts.port or 80), timeout=_PROBE_S) as plain:
            with anyone.wrap_socket(plain, server_hostname=parts.hostname):
                return f"{url} speaks TLS. Let elastic.url begin with https://, and set elastic.ca_file."
    except OSError:
        return ""


def _says(detail: str, words: tuple[str, ...]) -> bool:
    return any(word in detail.upper().replace(" ", "_") for word in words)
