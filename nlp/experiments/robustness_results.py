"""The figures of an experiment on robustness, out of its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from nlp.experiments.measures import Estimate, Spread, estimate
from nlp.experiments.robustness import (
    CLEAN,
    Condition,
    Gain,
    Measured,
    Outcome,
    Part,
    Versus,
    against,
    gains,
    measured,
    over_seeds,
)
from nlp.experiments.robustness_settings import GREEDY, KEPT_OUT, MISLED, NOISE, PLAIN, Declared
from nlp.experiments.text_attacks import EVERYWHERE, Attack

TEXT, GREEDY_PART, PICTURES, GRADIENT = "text-", "greedy", "pictures", "gradient"
PICTURE_RECIPE, TEXT_RECIPE = "picture-recipe-", "text-recipe-"
"""Parts by name; those that end in - go on with a group of attacks or a seed."""


class Under(msgspec.Struct, frozen=True):
    """F1 without an attack, each attack beside it, and what was compared with one another."""

    clean: Estimate
    attacks: list[Measured]
    versus: list[Versus] = []


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """All figures; what was not run is None or empty, and why stands in ``not_run``.

    ``text`` are attacks everywhere, ``placed`` inside and outside entities; ``seeds`` are F1 at the middle strength by
    seed of the attack.
    """

    text: Under
    placed: list[Measured]
    seeds: dict[str, Spread]
    greedy: Under | None
    pictures: Under | None
    gradient: Under | None
    picture_recipe: list[Gain]
    text_recipe: list[Gain]
    counts: dict[str, dict[str, int]]
    not_run: dict[str, str]


def text_conditions(attack: Attack, declared: Declared) -> list[Condition]:
    """What a text attack is tried at."""
    first, *others = declared.seeds
    rates = (*declared.rates, 1.0) if attack.whole else declared.rates
    found = [Condition(attack.name, rate, seed=first) for rate in rates]
    found += [Condition(attack.name, declared.middle, where, first) for where in ("inside", "outside")]
    return found + [Condition(attack.name, declared.middle, seed=seed) for seed in others]


def results_of(parts: Mapping[str, Part], declared: Declared, not_run: Mapping[str, str]) -> Results:
    """The figures of the parts that were run."""
    seed = declared.seeds[0]
    of_text = [part for name, part in parts.items() if name.startswith(TEXT) and not name.startswith(TEXT_RECIPE)]
    clean = of_text[0].outcomes[0]
    every = [one for part in of_text for one in part.outcomes[1:]]
    own = [one for one in every if one.condition.seed == seed]
    missing = {name: part.not_run for name, part in parts.items() if part.not_run}
    return Results(
        text=Under(_f1(clean, seed), measured(clean, _where(own, lambda one: one.where == EVERYWHERE), seed)),
        placed=measured(clean, _where(own, lambda one: one.where != EVERYWHERE), seed),
        seeds=_seeds(every, declared.middle),
        greedy=_under(parts.get(GREEDY_PART), GREEDY, seed),
        pictures=_under(parts.get(PICTURES), "", seed),
        gradient=_under(parts.get(GRADIENT), NOISE, seed),
        picture_recipe=gains(_recipe(parts, PICTURE_RECIPE), PLAIN, _shown_in_training, seed),
        text_recipe=gains(_recipe(parts, TEXT_RECIPE), PLAIN, lambda one: one.attack not in (*KEPT_OUT, CLEAN), seed),
        counts={name: part.counts for name, part in parts.items() if part.counts},
        not_run={**not_run, **missing},
    )


def _where(outcomes: Sequence[Outcome], wanted: Callable[[Condition], bool]) -> list[Outcome]:
    return [one for one in outcomes if wanted(one.condition)]


def _f1(clean: Outcome, seed: int) -> Estimate:
    return estimate(clean.sums, "f1", seed)


def _seeds(outcomes: Sequence[Outcome], middle: float) -> dict[str, Spread]:
    chosen = _where(outcomes, lambda one: one.where == EVERYWHERE and one.strength == middle)
    names = dict.fromkeys(one.condition.attack for one in chosen)
    return {name: over_seeds([one for one in chosen if one.condition.attack == name]) for name in names}


def _under(part: Part | None, pivot: str, seed: int) -> Under | None:
    """A part whose outcomes begin with the clean one; all of the ``pivot`` (an arm or attack) are compared with the
    others of the same strength."""
    if part is None or not part.outcomes or not part.outcomes[0].rows:
        return None
    clean, *others = part.outcomes
    named = [(one.condition.arm or one.condition.attack, one.condition.strength, one) for one in others]
    pairs = [
        (one, other) if pivot == GREEDY else (other, one)
        for name, strength, one in named
        for rival, like, other in named
        if name == pivot and rival != pivot and like == strength
    ]
    return Under(_f1(clean, seed), measured(clean, others, seed), against(pairs, seed))


def _recipe(parts: Mapping[str, Part], prefix: str) -> list[Outcome]:
    return [one for name, part in parts.items() if name.startswith(prefix) for one in part.outcomes]


def _shown_in_training(one: Condition) -> bool:
    return one.attack == "missing" or (one.arm == MISLED and one.attack in ("swapped", "misleading"))
