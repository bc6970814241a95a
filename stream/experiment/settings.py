"""Everything about the declared stream that somebody chose, in one place: what it is made of and what is put in."""

from __future__ import annotations

from typing import Final

import msgspec

from stream.core.volume import DAY_MS

UTC_OFFSET_MS: Final = 8 * 3_600_000
START_MS: Final = 1_699_804_800_000
"""Monday 2023-11-13 00:00 in Beijing, where the stream begins."""
SHAPES: Final = ("step", "ramp", "pulse")


class DeclaredStream(msgspec.Struct, frozen=True, kw_only=True):
    """A semi-synthetic stream. The same settings give the same stream, byte for byte.

    - ``entities`` names; those that nothing is put into share ``background_h`` mentions an hour by Zipf's law with
      exponent ``zipf``. ``authors`` accounts, of which half write the stream and half what is put into it.
    - ``learn_days`` pass before ``test_days``, in which alerts are counted. Days are those of Beijing.
    - Each name follows the platform's week, shifted by a normal number of hours (``phase_h``), with a swing drawn from
      ``swing`` (1 is the platform's).
    - Rates vary by gamma factors of mean 1 and variance ``dispersion_day`` and ``dispersion_hour``, so that counts of
      an hour are negative binomial with about a = the sum of both.
    - A post is passed on N times, P(N ≥ n) = (1 + n)^−``repost_tail`` up to ``reposts_max``, after log-normal delays
      with median ``repost_delay_s`` and σ ``repost_delay_sigma``.
    - ``fan_share`` of the posts about a name are by its own followers; ``together_share`` of the posts mention a
      second name. ``engagement_sigma`` is σ of the log-normal likes. ``texts`` are put together from halves of posts,
      so that chance repeats none of them often.
    - ``runs`` bursts for each of ``factors`` × ``bases_h``, evenly over the shapes step, ramp and pulse, 1 to
      ``hours_max`` hours long; ``attack_runs`` of each kind of burst that is no trend, on names of ``attack_bases_h``.
    - ``timelines``: so often the days of the corpus itself are exchanged anew, since it is small.
    """

    seed: int = 1
    entities: int = 20_000
    authors: int = 200_000
    learn_days: int = 7
    test_days: int = 4
    background_h: float = 4000.0
    zipf: float = 1.0
    phase_h: float = 2.0
    swing: tuple[float, float] = (0.6, 1.2)
    dispersion_hour: float = 0.1
    dispersion_day: float = 0.05
    repost_tail: float = 3.0
    reposts_max: int = 200
    repost_delay_s: float = 1800.0
    repost_delay_sigma: float = 1.2
    fan_share: float = 0.3
    together_share: float = 0.15
    engagement_sigma: float = 2.0
    texts: int = 131_072
    factors: tuple[float, ...] = (3.0, 5.0, 10.0)
    bases_h: tuple[float, ...] = (0.5, 2.0, 10.0, 50.0)
    hours_max: int = 6
    runs: int = 60
    attack_runs: int = 240
    attack_bases_h: tuple[float, ...] = (0.5, 2.0)
    timelines: int = 5

    @property
    def test_ms(self) -> int:
        """Where the days begin on which alerts are counted."""
        return START_MS + self.learn_days * DAY_MS

    @property
    def end_ms(self) -> int:
        """Where the stream ends."""
        return self.test_ms + self.test_days * DAY_MS


QUICK: Final = DeclaredStream(
    entities=400, authors=20_000, learn_days=2, test_days=1, background_h=80.0, texts=4096, runs=2, attack_runs=8,
    bases_h=(2.0, 10.0), factors=(3.0, 10.0), timelines=1,
)  # fmt: skip
"""Too small to say anything about the detector; shows that everything works."""
