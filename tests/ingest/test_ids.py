import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.ids import MID_LOW_MAX, bid_from_mid, created_ms_from_mid, mid_from_bid, mid_of_time

VECTORS = {
    "Kjc77D1jz": "4645748019299849",
    "KkBtUx2dv": "4649106427873349",
    "K3fnuEfZK": "4607741009594608",
    "QdGSDbsQI": "5232630992732508",
    "QathNq6DV": "5224958596222067",
    "z0JH2lOMb": "3501756485200075",
}


@pytest.mark.parametrize(("bid", "mid"), VECTORS.items())
def test_known_ids_convert_both_ways(bid: str, mid: str) -> None:
    assert mid_from_bid(bid) == mid
    assert bid_from_mid(mid) == bid_from_mid(int(mid)) == bid


@given(st.integers(1, 2**63 - 1))
@example(10_000_000)
@example(10_000_001)
def test_every_mid_survives_the_way_through_its_bid(mid: int) -> None:
    assert mid_from_bid(bid_from_mid(mid)) == str(mid)


@given(st.text(max_size=14))
@example("")
@example("0")
@example("ZZZZ")
@example("Kjc77D1j\n")
@example("z" * 200)
def test_any_text_is_either_refused_or_the_bid_of_its_mid(text: str) -> None:
    try:
        mid = mid_from_bid(text)
    except ValueError:
        return
    assert bid_from_mid(mid) == text


@pytest.mark.parametrize("mid", [0, -1, 2**63, "x", ""])
def test_numbers_that_are_no_mid_are_refused(mid: int | str) -> None:
    with pytest.raises(ValueError):
        bid_from_mid(mid)


def test_a_mid_tells_when_the_post_was_written() -> None:
    mid = 4645748019299849
    assert created_ms_from_mid(mid) == created_ms_from_mid(str(mid)) == ((mid >> 22) + 515_483_463) * 1000


@given(at_s=st.integers(1_300_000_000, 2_000_000_000), low=st.integers(0, MID_LOW_MAX - 1))
def test_a_mid_that_is_made_of_a_time_holds_it(at_s: int, low: int) -> None:
    assert created_ms_from_mid(mid_of_time(at_s * 1000, low)) == at_s * 1000
