"""Requests to Elasticsearch: one client, and what can go wrong sorted by what to do about it.

The only file that knows the ``elasticsearch`` package.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
import structlog
from elastic_transport import ConnectionTimeout, TlsError, TransportError
from elasticsearch import ApiError, Elasticsearch, UnsupportedProductError

from index.elastic_settings import ElasticSettings
from index.elastic_tls import cut_short, distrust, hidden_tls, unusable_authority
from stream.contract.ports import EngineError, Metrics

_VENDOR: Final = "application/vnd.elasticsearch+"
_JSON: Final = f"{_VENDOR}json; compatible-with=8"
"""Servers 8 and 9 both speak it, whatever the version of the client; a client 9 left alone is refused by server 8."""
_LINES: Final = f"{_VENDOR}x-ndjson; compatible-with=8"
_FIRST_PAUSE_S: Final = 0.2
_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
_SECURITY: Final = "security_exception"
_BLOCKED: Final = "cluster_block_exception"

_log = structlog.get_logger(__name__)
Result = TypeVar("Result")


class ElasticError(EngineError):
    """Elasticsearch cannot be used as it is set up; the message says what to check. Trying again does not help."""


class Unavailable(Exception):
    """Elasticsearch is away, busy or blocks writes: try again. ``cause`` is a fixed word for the metrics."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause = cause


class Refused(Exception):
    """Elasticsearch understood and refused. ``status`` is HTTP's, ``kind`` Elasticsearch's name of the error."""

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}"[:500])
        self.status = status
        self.kind = kind


class Stopped(Exception):
    """The process ends while Elasticsearch is away; what was to be written is not."""


class Cluster:
    """One Elasticsearch, asked from any thread. Every request is tried once, for at most ``timeout_s`` seconds."""

    def __init__(self, settings: ElasticSettings, timeout_s: float | None = None) -> None:
        self.url = settings.url
        options: dict[str, Any] = {}
        if settings.api_key:
            name, colon, key = settings.api_key.partition(":")
            options["api_key"] = (name, key) if colon else settings.api_key
        elif settings.username:
            options["basic_auth"] = (settings.username, settings.password)
        if settings.ca_file:
            if problem := unusable_authority(settings.ca_file, self.url):
                raise ElasticError(problem)
            options["ca_certs"] = settings.ca_file
        try:
            self._client = Elasticsearch(
                settings.url,
                request_timeout=settings.request_timeout_s if timeout_s is None else timeout_s,
                max_retries=0,
                retry_on_timeout=False,
                **options,
            )
        except (ValueError, OSError) as error:
            raise ElasticError(f"elastic.url {settings.url} cannot be used: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def call(
        self, method: str, path: str, body: object = None, *, params: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The answer to one request. ``body`` is JSON values, or bytes of lines of JSON.

        Raises ``ElasticError``, ``Unavailable`` or ``Refused``.
        """
        headers = {"accept": _JSON}
        if body is not None:
            headers["content-type"] = _LINES if isinstance(body, bytes) else _JSON
            body = body if isinstance(body, bytes) else msgspec.json.encode(body)
        try:
            response = self._client.perform_request(method, path, params=params, headers=headers, body=body)
        except UnsupportedProductError as error:
            raise ElasticError(f"{self.url} answers, but is no Elasticsearch. Check elastic.url.") from error
        except ApiError as error:
            raise self._sorted(error) from error
        except TlsError as error:
            if cut_short(str(error.message)):
                raise Unavailable("connection", str(error.message)) from error
            raise ElasticError(distrust(self.url, str(error.message))) from error
        except ConnectionTimeout as error:
            raise Unavailable("timeout", str(error.message)) from error
        except TransportError as error:
            if problem := hidden_tls(self.url):
                raise ElasticError(problem) from error
            raise Unavailable("connection", str(error.message)) from error
        found: object = response.body
        return found if isinstance(found, dict) else {}

    def _sorted(self, error: ApiError) -> Exception:
        """What ``error`` means for the caller."""
        status = error.meta.status
        kind, detail = described(error.body)
        return self.judged(status, kind, detail) or Refused(status, kind, detail)

    def judged(self, status: int, kind: str, detail: str) -> ElasticError | Unavailable | None:
        """The error behind ``status`` of a request or of one item of a bulk, None when it is about what was sent."""
        if status == 401:
            return ElasticError(
                f"{self.url} does not know these credentials (401). Check elastic.username and elastic.password, "
                "or elastic.api_key."
            )
        if status == 403 and kind == _SECURITY:
            return ElasticError(f"{self.url} does not permit it (403): {detail}. Check the rights of the user or key.")
        if kind == _BLOCKED or (status == 400 and kind == "validation_exception" and "shards" in detail):
            return Unavailable("blocked", detail)
        if status in _BUSY:
            return Unavailable("rejected" if status == 429 else "server_error", f"{status} {kind}: {detail}")
        if status == 403:
            return ElasticError(f"{self.url} or a proxy before it refuses (403): {detail}")
        return None


def described(body: object) -> tuple[str, str]:
    """(type, reason) of the error in the body of a response or in an item of a bulk."""
    error = body.get("error", body) if isinstance(body, Mapping) else body
    if not isinstance(error, Mapping):
        return "", str(error)[:300]
    cause = error.get("caused_by")
    reason = str(error.get("reason", ""))
    if isinstance(cause, Mapping) and cause.get("reason"):
        reason += f" ({cause['reason']})"
    return str(error.get("type", "")), reason[:400]


class Patience:
    """Tries again for as long as it takes, with growing pauses of at most ``pause_s_max``, until ``stopping``."""

    def __init__(self, pause_s_max: float, metrics: Metrics | None, stopping: threading.Event | None) -> None:
        self._pause_s_max = pause_s_max
        self._metrics = metrics
        self._stopping = stopping or threading.Event()
        self._pause_s = _FIRST_PAUSE_S

    def wait(self, error: Unavailable) -> None:
        """Count, say and wait. Raises ``Stopped``."""
        if self._metrics is not None:
            self._metrics.count("weibowatch_index_retries_total", cause=error.cause)
        pause_s = min(self._pause_s, self._pause_s_max)
        _log.warning("index_waits", detail=str(error), pause_s=pause_s)
        self._pause_s = pause_s * 2
        if self._stopping.wait(pause_s):
            raise Stopped("asked to stop while Elasticsearch was away") from error

    def eased(self) -> None:
        """It worked: the next pause is short again."""
        self._pause_s = _FIRST_PAUSE_S

    def until(self, work: Callable[[], Result]) -> Result:
        """What ``work`` returns once nothing is in its way. Raises ``Stopped`` and what ``work`` raises otherwise."""
        while True:
            try:
                result = work()
            except Unavailable as error:
                self.wait(error)
            else:
                self.eased()
                return result
