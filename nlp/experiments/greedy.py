"""A text attack under a budget that asks the tagger where it hurts.

It knows only what the tagger answers, entities and confidences (a black box; greedy as in Jin et al. 2020): of a post
it makes the one replacement that lowers the confidence in the gold most, again and again.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from nlp.datasets import Example
from nlp.evaluate import tag_input
from nlp.experiments.robustness import Before, Condition, Outcome, Part, clean, outcome
from nlp.experiments.robustness_settings import GREEDY, RANDOM, RANDOM_INSIDE, TextBudget
from nlp.experiments.subject import Told, chunks_of, predict
from nlp.experiments.text_attacks import Attack, Changes, applied, links, owners_of
from nlp.experiments.text_robustness import before_of, example_of, moved_inputs
from nlp.labels import Chunk
from stream.contract.ports import Tagger, TagInput, tagged
from stream.contract.records import Span

REPLACING: Final = ("homophone", "lookalike", "split", "traditional")
"""What is put in place of a character: what one of these attacks gives, by chance."""
ARMS: Final = (GREEDY, RANDOM, RANDOM_INSIDE)
NAME: Final = "replaced"


class Victim(NamedTuple):
    """A post, its gold, and what would be put in place of each character that has something."""

    post: TagInput
    gold: list[Chunk]
    ways: Mapping[int, Changes]

    def moved(self, places: Sequence[int]) -> tuple[str, list[Chunk]]:
        """The text with the replacements at ``places``, and its gold."""
        changes = {place: change for one in places for place, change in self.ways[one].items()}
        return applied(self.post.text, self.gold, changes)


def greedy_posts(
    tagger: Tagger, examples: Sequence[Example], attacks: Sequence[Attack], budget: TextBudget, seed: int, told: Told
) -> Part:
    """``clean``, then each of ``ARMS`` after each number of edits; ``strength`` is that number.

    ``random`` makes as many edits anywhere, ``random inside`` first within entities. All three put the same in place of
    the same character. Greedy tries the places that are nearest to the entities.
    """
    before = before_of(tagger, examples, lambda done, total: None, Counter())
    using = [attack for attack in attacks if attack.name in REPLACING]
    victims = [
        Victim(tag_input(example, Counter()), gold, _ways(example.text, using, random.Random(f"{seed} ways {number}")))
        for number, (example, gold) in enumerate(zip(examples, before.gold, strict=True))
    ]
    orders: dict[str, list[list[int]]] = {arm: [] for arm in ARMS}
    queries = 0
    for number, victim in enumerate(victims):
        order = random.Random(f"{seed} order {number}").sample(sorted(victim.ways), len(victim.ways))
        owners = owners_of(victim.post.text, victim.gold)
        tried = _nearest(order, owners, budget.places_max)
        orders[GREEDY].append(greedy(tagger, victim, tried, max(budget.edits)))
        orders[RANDOM].append(order)
        orders[RANDOM_INSIDE].append([*_part(order, owners, True), *_part(order, owners, False)])
        queries += sum(len(tried) - done for done in range(min(len(tried), max(budget.edits))))
        told(number + 1, len(victims))
    found = [clean(before)]
    for arm in ARMS:
        found += [_outcome(tagger, examples, before, victims, orders[arm], Condition(NAME, edits, seed=seed, arm=arm))
                  for edits in budget.edits]  # fmt: skip
    return Part(found, {"posts": len(examples), "queries": queries})


def greedy(tagger: Tagger, victim: Victim, tried: Sequence[int], most: int) -> list[int]:
    """Up to ``most`` of the places ``tried``, in the order in which they are replaced; of like ones the first tried."""
    chosen: list[int] = []
    left = list(tried)
    while left and len(chosen) < most:
        moved = [victim.moved([*chosen, place]) for place in left]
        answers = tagged(tagger, [victim.post._replace(text=text) for text, _ in moved])
        scores = [sureness(gold, found) for (_, gold), found in zip(moved, answers, strict=True)]
        chosen.append(left.pop(scores.index(min(scores))))
    return chosen


def sureness(gold: Sequence[Chunk], found: Sequence[Span]) -> float:
    """How sure the tagger is of the gold: the sum of its confidences, 0 for what it does not find."""
    sure = {Chunk(span.start, span.end, span.type): span.confidence or 0.0 for span in found}
    return sum(sure.get(chunk, 0.0) for chunk in gold)


def _ways(text: str, attacks: Sequence[Attack], chance: random.Random) -> dict[int, Changes]:
    """At each place what one of the attacks does, where one does anything."""
    ats, held = [attack.of(text) for attack in attacks], links(text)
    found: dict[int, Changes] = {}
    for place in range(len(text)):
        made = [one for at in ats if (one := at(place, chance.random()))]
        if made and place not in held:
            found[place] = chance.choice(made)
    return found


def _nearest(order: Sequence[int], owners: Sequence[int], most: int) -> list[int]:
    """The ``most`` places of ``order`` that are nearest to an entity, in their order; any where there is none."""
    inside = [place for place, owner in enumerate(owners) if owner >= 0]
    far = {place: min((abs(place - one) for one in inside), default=0) for place in order}
    kept = set(sorted(order, key=far.__getitem__)[:most])
    return [place for place in order if place in kept]


def _part(order: Sequence[int], owners: Sequence[int], inside: bool) -> list[int]:
    return [place for place in order if (owners[place] >= 0) == inside]


def _outcome(
    tagger: Tagger,
    examples: Sequence[Example],
    before: Before,
    victims: Sequence[Victim],
    orders: Sequence[Sequence[int]],
    condition: Condition,
) -> Outcome:
    edits = int(condition.strength)
    moved = [victim.moved(order[:edits]) for victim, order in zip(victims, orders, strict=True)]
    after = predict(tagger, moved_inputs(examples, moved), lambda done, total: None, len(examples))
    own = outcome(condition, before, [gold for _, gold in moved], chunks_of(after))
    made = sum(min(edits, len(order)) for order in orders)
    characters = sum(len(example.text) for example in examples)
    return msgspec.structs.replace(
        own, changed=made / characters if characters else 0.0, example=example_of(examples, before, moved)
    )
