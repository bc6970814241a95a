"""The polite GET: what answers mean, how long to rest, where redirects may lead."""

from __future__ import annotations

import pytest

from ingest.http import followed, judged
from tests.ingest.corpus import NOW_MS


@pytest.mark.parametrize(
    "location",
    ["http://a.example/x", "file:///etc/passwd", "https://127.0.0.1/", "https://169.254.169.254/", "https://localhost/",
     "https://[::1]/", "https://db.internal/", "https://10.0.0.7/x"],
)  # fmt: skip
def test_redirects_lead_neither_away_from_tls_nor_into_the_own_network(location: str) -> None:
    with pytest.raises(ValueError, match="not followed"):
        followed("https://a.example/feed", location)


def test_redirects_to_elsewhere_are_fine() -> None:
    assert followed("http://a.example/feed", "https://b.example/f") == "https://b.example/f"
    assert followed("http://127.0.0.1:80/feed", "/g") == "http://127.0.0.1:80/g"


def test_a_server_cannot_send_away_for_longer_than_a_day() -> None:
    assert judged(429, {"retry-after": "9" * 30}, b"", NOW_MS).rest_s == 86_400
    assert judged(429, {"retry-after": "Tue, 14 Nov 2000 22:20:00 GMT"}, b"", NOW_MS).rest_s == 0
    assert judged(429, {"retry-after": "soon", "x-ratelimit-reset": "30"}, b"", NOW_MS).rest_s == 30
