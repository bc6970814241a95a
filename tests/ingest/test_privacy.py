import pytest

from ingest.privacy import hmac_pseudonym


def test_pseudonyms_are_stable_distinct_and_bound_to_the_key() -> None:
    one, other = hmac_pseudonym(b"k" * 16), hmac_pseudonym(b"x" * 32)
    assert one("1234567890") == one("1234567890") != one("1234567891")
    assert one("1234567890") != other("1234567890")
    assert one("1").startswith("u:") and len(one("1")) == 26
    assert one("\ud800") != one("\ud801")


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        hmac_pseudonym(b"short")
