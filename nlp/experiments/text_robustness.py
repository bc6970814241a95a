"""A tagger on texts that are attacked at random places."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from nlp.datasets import Example
from nlp.evaluate import tag_input
from nlp.experiments.robustness import Before, Condition, Outcome, Part, clean, outcome
from nlp.experiments.subject import Told, chunks_of, gold_of, inputs_of, predict
from nlp.experiments.text_attacks import Attack, applied, changes_of
from nlp.labels import Chunk
from stream.contract.ports import Tagger, TagInput

Moved = tuple[str, list[Chunk]]
"""A text after an attack, and its entities."""


def attack_posts(
    tagger: Tagger, examples: Sequence[Example], jobs: Sequence[tuple[Attack, Condition]], told: Told
) -> Part:
    """``clean``, then each attack at its condition. Pictures of the posts stay as they are."""
    total, left_out = len(examples) * (1 + len(jobs)), Counter[str]()
    before = before_of(tagger, examples, lambda done, _: told(done, total), left_out)
    found = [clean(before)]
    for number, (attack, condition) in enumerate(jobs, start=1):

        def went(done: int, _: int, begun: int = number * len(examples)) -> None:
            told(begun + done, total)

        found.append(attack_outcome(tagger, examples, before, attack, condition, went))
    return Part(found, {"posts": len(examples), **unreadable(left_out)})


def before_of(tagger: Tagger, examples: Sequence[Example], told: Told, left_out: Counter[str]) -> Before:
    """What the tagger finds in the posts as they are; pictures that cannot be read are counted."""
    found = predict(tagger, inputs_of(examples, left_out), told, len(examples))
    return Before(gold_of(examples), chunks_of(found))


def unreadable(left_out: Counter[str]) -> dict[str, int]:
    """Pictures that could not be read, for the counts of a part."""
    return {f"pictures left out, {reason}": count for reason, count in sorted(left_out.items())}


def attack_outcome(
    tagger: Tagger, examples: Sequence[Example], before: Before, attack: Attack, condition: Condition, told: Told
) -> Outcome:
    """What comes of an attack at the strength and the places of ``condition``."""
    made = [
        changes_of(attack, example.text, gold, chance_of(condition, number), condition.strength, condition.where)
        for number, (example, gold) in enumerate(zip(examples, before.gold, strict=True))
    ]
    moved = [applied(one.text, gold, own) for one, gold, own in zip(examples, before.gold, made, strict=True)]
    found = predict(tagger, moved_inputs(examples, moved), told, len(examples))
    own = outcome(condition, before, [gold for _, gold in moved], chunks_of(found))
    characters = sum(len(example.text) for example in examples)
    changed = sum(map(len, made)) / characters if characters else 0.0
    return msgspec.structs.replace(own, changed=changed, example=example_of(examples, before, moved))


def chance_of(condition: Condition, number: int) -> random.Random:
    """The same for all strengths and places of an attack on a post."""
    return random.Random(f"{condition.seed} {condition.attack} {number}")


def moved_inputs(examples: Sequence[Example], moved: Sequence[Moved]) -> Iterator[TagInput]:
    """The posts with other texts and their own pictures."""
    unread = Counter[str]()  # counted when the posts were read as they are
    return (tag_input(one, unread)._replace(text=text) for one, (text, _) in zip(examples, moved, strict=True))


def example_of(examples: Sequence[Example], before: Before, moved: Sequence[Moved]) -> str:
    """The first entity of three characters or more that was changed."""
    for example, gold, (text, chunks) in zip(examples, before.gold, moved, strict=True):
        for one, other in zip(gold, chunks, strict=True):
            old, new = example.text[one.start : one.end], text[other.start : other.end]
            if old != new and 3 <= len(old) <= 12:
                return f"{old} → {new}"
    return ""
