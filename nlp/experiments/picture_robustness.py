"""A tagger of texts and pictures whose pictures are attacked; posts without any are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from nlp.datasets import Example
from nlp.experiments.picture_attacks import PictureAttack, donors, shown
from nlp.experiments.robustness import Before, Condition, Outcome, Part, clean, outcome
from nlp.experiments.subject import Told, chunks_of, gold_of, predict
from nlp.experiments.text_robustness import before_of, unreadable
from stream.contract.ports import Tagger, TagInput


def attack_pictures(
    tagger: Tagger, examples: Sequence[Example], attacks: Sequence[PictureAttack], seed: int, told: Told
) -> Part:
    """``clean``, then each attack at each of its strengths."""
    posts = [example for example in examples if example.pictures]
    jobs = [(attack, strength) for attack in attacks for strength in attack.strengths]
    left_out = Counter[str]()
    before = before_of(tagger, posts, lambda done, total: None, left_out)
    found = [clean(before)]
    for number, (attack, strength) in enumerate(jobs, start=1):
        found.append(attack_outcome(tagger, posts, before, attack, Condition(attack.name, strength, seed=seed)))
        told(number, len(jobs))
    return Part(found, {"posts with pictures": len(posts), **unreadable(left_out)})


def attack_outcome(
    tagger: Tagger, posts: Sequence[Example], before: Before, attack: PictureAttack, condition: Condition
) -> Outcome:
    """What comes of the posts under an attack at the strength of ``condition``."""
    inputs = _inputs(posts, attack, condition)
    found = predict(tagger, inputs, lambda done, total: None, len(posts))
    return outcome(condition, before, before.gold, chunks_of(found))


def _inputs(posts: Sequence[Example], attack: PictureAttack, condition: Condition) -> Iterator[TagInput]:
    kind = attack.donor or "other type"  # whose name is written into pictures
    given = donors(posts, gold_of(posts), kind, condition.seed)
    unread = Counter[str]()  # counted when the posts were read as they are
    for number, (example, donor) in enumerate(zip(posts, given, strict=True)):
        seed = f"{condition.seed} {attack.name} {number}"
        yield shown(example, attack, condition.strength, donor, seed, unread)
