"""The user's own session: a cookie from a file or the settings, never shown, read again when the file changes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from stream.contract.ports import SourceError

MOBILE: Final = "m.weibo.cn"
DESKTOP: Final = "weibo.com"
HOSTS: Final = (MOBILE, DESKTOP)
_FILE_BYTES_MAX: Final = 64_000
_PAIR: Final = re.compile(r"[A-Za-z0-9_.-]+=[^\s;,]*")
_NETSCAPE_FIELDS: Final = 7
_HELP: Final = (
    "Write into it what the browser sends as Cookie, one line: SUB=…; SUBP=…  (a line may begin with "
    "m.weibo.cn: or weibo.com: when the two differ). See docs/weibo.md"
)


class Cookies(msgspec.Struct, frozen=True):
    """Host → the header. Its text never appears in messages, ``repr`` included."""

    of_host: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Cookies({', '.join(sorted(self.of_host)) or 'none'})"

    def header(self, host: str) -> str:
        """What is sent to ``host``; empty when there is no session."""
        return self.of_host.get(host, "")

    @property
    def digest(self) -> str:
        """Tells one session from another without giving it away."""
        text = "\n".join(f"{host}\t{self.of_host[host]}" for host in sorted(self.of_host))
        return hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""

    def expires_s(self, host: str) -> int:
        """What the cookie itself says of its end, Unix seconds; 0 when it says nothing."""
        found = re.search(r"(?:^|;\s*)ALF=(?:0\d_)?(\d{9,11})", self.header(host))
        return int(found[1]) if found else 0


def parse_cookies(text: str) -> Cookies:
    """Cookies in one of three forms: the header, lines for a host each, or Netscape's cookies.txt.

    Raises ``ValueError`` with what to do, and nothing of the text.
    """
    found: dict[str, str] = {}
    of_jar: dict[str, list[str]] = {}
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        line = line.strip()
        fields = line.removeprefix("#HttpOnly_").split("\t")
        if len(fields) == _NETSCAPE_FIELDS:
            for host in HOSTS:
                if f".{host}".endswith("." + fields[0].lstrip(".")):
                    of_jar.setdefault(host, []).append(f"{fields[5]}={fields[6]}")
            continue
        if not line or line.startswith("#"):
            continue
        host, _, rest = line.partition(":")
        if host.lower() == "cookie":
            host, line = "", rest.strip()
        hosts = (host.strip().lower(),) if host.strip().lower() in HOSTS else HOSTS
        header = rest.strip() if len(hosts) == 1 else line
        if "=" not in header and re.fullmatch(r"_2A[\w.%-]+", header):
            header = f"SUB={header}"
        pairs = [pair.strip() for pair in header.split(";") if pair.strip()]
        if not pairs or not all(_PAIR.fullmatch(pair) for pair in pairs) or not header.isascii():
            raise ValueError(f"line {number} is no cookie. {_HELP}")
        found.update(dict.fromkeys(hosts, "; ".join(pairs)))
    found.update({host: "; ".join(pairs) for host, pairs in of_jar.items()})
    if found and not any("SUB=" in header for header in found.values()):
        raise ValueError(f"there is no SUB in it, which is what a session of Weibo is. {_HELP}")
    return Cookies(found)


class Session:
    """The cookies in force. ``refresh`` looks whether the file has changed."""

    def __init__(self, cookie: str, file: str) -> None:
        self._file = Path(file).expanduser() if file else None
        self._stamp: tuple[int, int] = (0, 0)
        self.cookies = Cookies({})
        self.problem = ""
        if self._file is not None:
            if not self.refresh():
                raise SourceError(self.problem)
        elif cookie:
            try:
                self.cookies = parse_cookies(cookie)
            except ValueError as error:
                raise SourceError(f"weibo.cookie: {error}") from None

    def refresh(self) -> bool:
        """Whether the file had changed and could be read. A file that is broken now leaves the old cookies in force."""
        if self._file is None:
            return False
        try:
            state = self._file.stat()
            stamp = (state.st_mtime_ns, state.st_size)
            if stamp == self._stamp:
                return False
            self._stamp = stamp
            if state.st_size > _FILE_BYTES_MAX:
                raise ValueError(f"it has {state.st_size} bytes; a cookie is much shorter. {_HELP}")
            cookies = parse_cookies(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or (
                "it is not UTF-8" if isinstance(error, UnicodeError) else error
            )
            self.problem = f"the cookie file {self._file} cannot be used: {reason}"
            return False
        self.problem = ""
        self.cookies = cookies
        return True
