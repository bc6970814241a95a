"""The declared stream is what it declares to be, and the same each time."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from stream.core.volume import DAY_MS
from stream.experiment import arrivals, injection, null
from stream.experiment.settings import START_MS, DeclaredStream
from stream.experiment.table import NONE, Table, alone
from stream.experiment.world import Corpus, World, cells, rng, world

TEXTS = tuple(f"第{number}条微博说的是完全不同的事情{number * 7919}" for number in range(300))
CORPUS = Corpus("made up", TEXTS, ("LOC/上海",))
STREAM = DeclaredStream(
    entities=300, authors=5000, learn_days=7, test_days=2, background_h=100.0, texts=2048, runs=6, attack_runs=8,
    bases_h=(2.0, 20.0), factors=(3.0, 10.0), attack_bases_h=(1.0,),
)  # fmt: skip


@pytest.fixture(scope="module")
def made() -> World:
    return world(STREAM, CORPUS)


@pytest.fixture(scope="module")
def posts(made: World) -> Table:
    return arrivals.posts(STREAM, made)


def test_the_same_settings_give_the_same_stream_and_another_seed_another(made: World, posts: Table) -> None:
    again = arrivals.posts(STREAM, world(STREAM, CORPUS))
    assert all(np.array_equal(getattr(posts, column), getattr(again, column)) for column in Table._fields)
    other = msgspec.structs.replace(STREAM, seed=2)
    assert arrivals.posts(other, world(other, CORPUS)).rows != posts.rows


def test_names_are_mentioned_as_often_as_declared(made: World, posts: Table) -> None:
    hours = (STREAM.end_ms - START_MS) / 3_600_000
    each = alone(posts)
    for base in STREAM.bases_h:
        targets = np.concatenate([made.targets[f"x{factor:g}", base] for factor in STREAM.factors])
        found = np.isin(each.entity, targets).sum() / hours / len(targets)
        assert found == pytest.approx(base, rel=0.2)
    assert np.isin(each.entity, made.background).sum() / hours == pytest.approx(STREAM.background_h, rel=0.15)


def test_the_day_has_hours_and_the_hour_more_variance_than_poisson(made: World, posts: Table) -> None:
    hour = (posts.created_ms - START_MS) // 3_600_000
    by_hour = np.bincount(hour % 24, minlength=24)
    assert by_hour[21] > 3 * by_hour[4]
    target = made.targets["x3", 20.0]
    counts = np.array([np.bincount(hour[posts.entity == one], minlength=9 * 24) for one in target])
    expected = made.weeks[target][:, np.arange(9 * 24) % 168] * counts.mean(axis=1, keepdims=True)
    excess = ((counts - expected) ** 2 - expected).sum() / (expected**2).sum()
    assert 0.05 < excess < 0.6


def test_reposts_name_a_post_before_them_about_the_same(posts: Table) -> None:
    number = {int(one): row for row, one in enumerate(posts.number)}
    reposts = np.flatnonzero(posts.root != NONE)
    assert 0.1 < len(reposts) / posts.rows < 0.25
    for row in reposts[:200].tolist():
        root = number[int(posts.root[row])]
        assert root < row
        assert posts.entity[root] == posts.entity[row]
        assert posts.root[root] == NONE


def test_what_is_put_in_adds_so_many_times_the_rate_and_is_by_other_accounts(made: World, posts: Table) -> None:
    both, runs = injection.injected(STREAM, made, posts)
    assert len(runs) == sum(cells(STREAM).values())
    assert both.rows == posts.rows + sum(run.posts for run in runs)
    assert len(np.unique(both.number)) == both.rows
    assert np.all(np.diff(both.arrived_ms) >= 0)
    for factor in STREAM.factors:
        own = [run for run in runs if run.kind == f"x{factor:g}" and run.base_h == 20.0]
        hours = sum(run.end_ms - run.begin_ms for run in own) / 3_600_000
        # Bursts begin when people post, so that the usual rate is rather higher than the mean then.
        assert sum(run.posts for run in own) / hours / 20.0 == pytest.approx(1.2 * (factor - 1), rel=0.25)
    late = both.number > posts.number.max()
    assert both.author[late].min() >= STREAM.authors // 2 > both.author[~late].max()


def test_each_attack_is_what_its_name_says(made: World, posts: Table) -> None:
    both, runs = injection.injected(STREAM, made, posts)
    fresh = both.number > posts.number.max()
    for run in (run for run in runs if not run.is_trend):
        own = both.of(fresh & (both.entity == run.target))
        accounts, texts = len(np.unique(own.author)), len(np.unique(own.text))
        if run.kind == "flood":
            assert (accounts, texts > 20) == (1, True)
        elif run.kind == "ring":
            assert (accounts, texts <= 10) == (20, True)
        elif run.kind == "copies":
            assert (texts, accounts > 15) == (1, True)
        else:
            assert len(np.unique(own.root[own.root != NONE])) == 1
            assert (own.root == NONE).sum() == 1


def test_a_shape_begins_and_ends_as_it_is_called() -> None:
    step, ramp, pulse = (injection.shape_of(name, 72) for name in ("step", "ramp", "pulse"))
    assert step[0] == pytest.approx(step[-1])
    assert ramp[-1] > 50 * ramp[0]
    assert pulse[0] > 30 * pulse[-1]
    assert all(one.sum() == pytest.approx(1.0) for one in (step, ramp, pulse))


def test_days_are_exchanged_within_a_name_among_days_of_the_same_kind(posts: Table) -> None:
    before = alone(posts)
    after = null.exchanged(posts, STREAM.entities, rng(STREAM, 99))
    assert after.rows == before.rows
    assert not np.array_equal(after.created_ms, before.created_ms)

    def days(each: Table, entity: int) -> list[int]:
        own = (each.created_ms[each.entity == entity] - START_MS) // DAY_MS
        return [int(count) for count in np.bincount(own, minlength=9)]

    for entity in range(0, STREAM.entities, 17):
        old, new = days(before, entity), days(after, entity)
        weekend = [5, 6]
        assert sorted(old[day] for day in weekend) == sorted(new[day] for day in weekend)
        assert sorted(old) == sorted(new)
    old_hours, new_hours = (np.bincount(each.created_ms % DAY_MS // 3_600_000) for each in (before, after))
    assert np.array_equal(old_hours, new_hours)


def test_too_few_names_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        world(msgspec.structs.replace(STREAM, entities=40), CORPUS)
