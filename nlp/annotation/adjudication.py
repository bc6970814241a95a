"""From several answers to one: what more than half of the annotators say, and for the rest what a person decides.

Entities of a post that overlap make one question. Each annotator's answer is what they marked there, which may be
nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from nlp.annotation.records import AnnotationError, Labels, problem
from nlp.labels import Chunk

Outcome = Literal["majority", "decided", "open"]


class Answer(msgspec.Struct, frozen=True):
    """What these annotators marked; no entities: that nothing is there."""

    annotators: tuple[str, ...]
    entities: tuple[Chunk, ...]


class Question(msgspec.Struct, frozen=True):
    """Code points [start, end) of a post on which annotators differ, most votes first.

    A person decides by writing entities into ``decided`` ([[start, end, type], …], [] for none) and handing it back.
    """

    id: str
    start: int
    end: int
    surface: str
    outcome: Outcome
    answers: tuple[Answer, ...]
    decided: tuple[Chunk, ...] | None = None
    context: str = ""

    @property
    def key(self) -> tuple[str, int, int]:
        """What tells it from others."""
        return (self.id, self.start, self.end)


class Verdict(msgspec.Struct, frozen=True):
    """``gold``: post → entities, of posts without an open question; ``questions``: all that were not unanimous.

    ``unanimous`` counts questions (places with entities) that had one answer. ``few``: posts with too few annotators.
    """

    gold: dict[str, tuple[Chunk, ...]]
    questions: tuple[Question, ...]
    unanimous: int
    few: tuple[str, ...]

    @property
    def open(self) -> tuple[str, ...]:
        """Posts that wait for a person."""
        return tuple(dict.fromkeys(one.id for one in self.questions if one.outcome == "open"))


def adjudicate(
    labels: Labels, texts: Mapping[str, str], decisions: Iterable[tuple[str, Question]] = (), annotators_min: int = 2
) -> Verdict:
    """The verdict on ``labels``. ``decisions``, each with its place for messages, are questions handed back.

    Raises ``AnnotationError`` where a decision belongs to no question or makes entities that cannot be.
    """
    decided = {one.key: (place, one.decided) for place, one in decisions if one.decided is not None}
    gold: dict[str, tuple[Chunk, ...]] = {}
    questions: list[Question] = []
    unanimous, few = 0, []
    for post, marks in labels.items():
        if len(marks) < annotators_min:
            few.append(post)
            continue
        entities: list[Chunk] = []
        waits = False
        places = []
        for answers in _questions(marks):
            if len(answers) == 1:
                unanimous += 1
                entities += answers[0].entities
                continue
            place, choice = decided.pop(_key(post, answers), ("", None))
            question = _judged(post, texts[post], answers, choice)
            questions.append(question)
            waits |= question.outcome == "open"
            entities += question.decided or ()
            places.append(place)
        wrong = problem(texts[post], entities)
        if wrong:
            raise AnnotationError(f"{', '.join(filter(None, places))}: post {post!r}: {wrong}")
        if not waits:
            gold[post] = tuple(sorted(entities))
    for key, (place, _) in decided.items():
        raise AnnotationError(f"{place}: nobody differs on post {key[0]!r} at {key[1]}..{key[2]}")
    return Verdict(gold, tuple(questions), unanimous, tuple(few))


def _questions(marks: Mapping[str, frozenset[Chunk]]) -> Iterator[tuple[Answer, ...]]:
    """The answers to each question, those with most annotators first."""
    spans = sorted({chunk for chunks in marks.values() for chunk in chunks})
    groups: list[list[Chunk]] = []
    end = -1
    for chunk in spans:
        if chunk.start >= end:
            groups.append([])
        groups[-1].append(chunk)
        end = max(end, chunk.end)
    for group in groups:
        said: defaultdict[tuple[Chunk, ...], list[str]] = defaultdict(list)
        for name in sorted(marks):
            said[tuple(chunk for chunk in group if chunk in marks[name])].append(name)
        answers = (Answer(tuple(names), chunks) for chunks, names in said.items())
        yield tuple(sorted(answers, key=lambda one: (-len(one.annotators), one.entities)))


def _key(post: str, answers: Sequence[Answer]) -> tuple[str, int, int]:
    chunks = [chunk for answer in answers for chunk in answer.entities]
    return post, min(chunk.start for chunk in chunks), max(chunk.end for chunk in chunks)


def _judged(post: str, text: str, answers: tuple[Answer, ...], choice: tuple[Chunk, ...] | None) -> Question:
    _, start, end = _key(post, answers)
    most = answers[0]
    wins = 2 * len(most.annotators) > sum(len(answer.annotators) for answer in answers)
    outcome: Outcome = "open" if choice is None else "decided"
    if wins and choice in (None, most.entities):
        outcome, choice = "majority", most.entities
    context = text[max(0, start - 20) : end + 20]
    return Question(post, start, end, text[start:end], outcome, answers, choice, context)
