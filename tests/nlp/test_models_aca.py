"""ACA against its equations, and what must not change its scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nlp.batch import Batch
from nlp.models import families
from nlp.models.aca import Aca
from nlp.models.coattention import CELLS_MAX, AdditiveAttention, ConcatAttention
from nlp.reference import Options, convert, own_name
from tests.nlp.equations import aca as equations
from tests.nlp.equations import layers
from tests.nlp.equations.checkpoints import SMALL_ACA, AcaSizes, Arrays, aca_shapes, drawn, tensors

LENGTHS = (6, 3, 1)
WIDTH = 12
REGIONS = 5


@dataclass(frozen=True)
class Posts:
    """Ids of words (B, S) and characters (B, S, W), lengths (B,), regions (B, R, D), labels (B, S)."""

    words: NDArray[np.int64]
    chars: NDArray[np.int64]
    regions: NDArray[np.float64]
    labels: NDArray[np.int64]

    def batch(self) -> Batch:
        places = torch.arange(self.words.shape[1])
        return Batch(
            tokens=torch.from_numpy(self.words),
            mask=places < torch.tensor(LENGTHS).unsqueeze(1),
            chars=torch.from_numpy(self.chars),
            regions=torch.from_numpy(self.regions).float().unsqueeze(1),
            picture_mask=torch.ones(len(self.words), 1, dtype=torch.bool),
            labels=torch.from_numpy(self.labels),
        )


def posts(sizes: AcaSizes = SMALL_ACA, seed: int = 0) -> Posts:
    chance = np.random.default_rng(seed)
    shape = (len(LENGTHS), max(LENGTHS))
    return Posts(
        words=chance.integers(0, sizes.words, shape),
        chars=chance.integers(0, sizes.chars, (*shape, WIDTH)),
        regions=chance.normal(size=(len(LENGTHS), REGIONS, sizes.region)),
        labels=chance.integers(0, sizes.labels, shape),
    )


def converted(weights: Arrays) -> Aca:
    model = convert(tensors(weights), "aca", Options()).model
    assert isinstance(model, Aca)
    return model


def small(seed: int = 1, **switches: Any) -> Aca:
    """A small model whose random weights make a difference everywhere."""
    torch.manual_seed(seed)
    sizes = {
        "tokens": SMALL_ACA.words, "chars": SMALL_ACA.chars, "token_size": 7, "hidden": 8, "region_size": 9,
        "characters": {"size": 5, "filters": 3, "inner": 6, "out": 4},
    }  # fmt: skip
    model = families.build("aca", {**sizes, **switches}, [str(n) for n in range(SMALL_ACA.labels)]).eval()
    assert isinstance(model, Aca)
    for parameter in model.parameters():
        parameter.data *= 2
    return model


@torch.no_grad()
def scored(model: Aca, batch: Batch) -> torch.Tensor:
    return model.scores(batch).emissions


def rolled(batch: Batch) -> Batch:
    """Every post with the picture of another."""
    assert batch.regions is not None
    return replace(batch, regions=batch.regions.roll(1, dims=0))


# --- parity ----------------------------------------------------------------------------------------------------------


def test_weights_have_the_shapes_of_the_reference_and_as_many_numbers() -> None:
    sizes = AcaSizes()
    labels = [str(n) for n in range(sizes.labels)]
    given = {"tokens": sizes.words, "chars": sizes.chars, "region_size": sizes.region}
    model = families.build("aca", given, labels)
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    expected = {own_name(name, "aca"): shape for name, shape in aca_shapes(sizes).items()}
    assert own == expected
    embeddings = sum(own[name][0] * own[name][1] for name in own if "embedding" in name)
    assert sum(parameter.numel() for parameter in model.parameters()) - embeddings == 855_044


@torch.no_grad()
def test_every_stage_is_that_of_the_equations() -> None:
    weights = drawn(aca_shapes(SMALL_ACA), 0)
    given, model = posts(), converted(weights)
    batch = given.batch()
    expected = [equations.stages(weights, *one) for one in zip(given.words, given.chars, given.regions, strict=True)]
    text = model.reader(batch)
    picture = torch.tanh(model.match(torch.from_numpy(given.regions).float()))
    everything = torch.ones(len(text), text.shape[1], dtype=torch.bool)
    shown = torch.ones(picture.shape[:2], dtype=torch.bool)
    text_read, image_read = model.attention(text, everything, picture, shown)
    found = {
        "text": text,
        "picture": picture,
        "image_read": image_read.expand_as(text),
        "text_read": text_read.expand_as(text),
        "fused": model.fusion(text_read, image_read).expand_as(text),
        "logits": model.scores(batch).emissions,
    }
    for stage, values in found.items():
        assert values.numpy() == pytest.approx(np.stack([one[stage] for one in expected]), abs=2e-6), stage


@torch.no_grad()
def test_additive_attention_is_that_of_the_equations_and_differs_between_words() -> None:
    width = SMALL_ACA.hidden
    shapes = {name: shape for name, shape in aca_shapes(SMALL_ACA).items() if name.startswith("co_attention")}
    shapes |= {f"co_attention.att_linear_{which}.weight": (1, width) for which in "12"}
    shapes = {name: shape for name, shape in shapes.items() if "att_linear" not in name or "weight" in name}
    weights = drawn(shapes, 0)
    attention = AdditiveAttention(width)
    names = {f"attention.{name}": name for name in attention.state_dict()}
    ours = {names[own_name(name, "aca") or ""]: value for name, value in tensors(weights).items()}
    attention.load_state_dict(ours)
    chance = np.random.default_rng(3)
    text, picture = chance.normal(size=(6, width)), chance.normal(size=(REGIONS, width))
    image_read, text_read = equations.additive_co_attention(weights, text, picture)
    found = attention(*(part.unsqueeze(0) for part in (
        torch.from_numpy(text).float(), torch.ones(6, dtype=torch.bool),
        torch.from_numpy(picture).float(), torch.ones(REGIONS, dtype=torch.bool),
    )))  # fmt: skip
    assert found[0][0].numpy() == pytest.approx(text_read, abs=2e-6)
    assert found[1][0].numpy() == pytest.approx(image_read, abs=2e-6)
    assert np.ptp(image_read, axis=0).max() > 0.1


def mean_loss(weights: Arrays, given: Posts) -> float:
    """By the equations; padding is read but not scored."""
    rows = zip(given.words, given.chars, given.regions, given.labels, LENGTHS, strict=True)
    each = [
        layers.negative_log_likelihood(
            weights, "crf", equations.stages(weights, words, chars, regions)["logits"][:length], labels[:length]
        )
        for words, chars, regions, labels, length in rows
    ]
    return float(np.mean(each))


def test_loss_and_gradients_are_those_of_the_equations() -> None:
    weights = drawn(aca_shapes(SMALL_ACA), 4)
    given = posts(seed=5)
    model = converted(weights)
    loss = model.loss(given.batch())
    torch.autograd.backward(loss)
    assert float(loss.detach()) == pytest.approx(mean_loss(weights, given), rel=1e-5)
    chance = np.random.default_rng(6)
    parameters = dict(model.named_parameters())
    for name, value in weights.items():
        direction = chance.normal(size=value.shape)
        direction /= np.linalg.norm(direction)
        slope = differences(weights, given, name, direction)
        gradient = parameters[own_name(name, "aca") or ""].grad
        found = 0.0 if gradient is None else float((gradient.double() * torch.from_numpy(direction)).sum())
        if name != "lstm.char_cnn.char_emb.weight":  # whose row for padding the reference does not train
            assert found == pytest.approx(slope, rel=2e-3, abs=2e-5), name


def differences(weights: Arrays, given: Posts, name: str, direction: NDArray[np.float64], step: float = 1e-4) -> float:
    """The slope of the loss along ``direction`` of one weight, by central differences."""
    ends = [mean_loss({**weights, name: weights[name] + sign * step * direction}, given) for sign in (1, -1)]
    return (ends[0] - ends[1]) / (2 * step)


# --- what concatenation comes to, and what not -----------------------------------------------------------------------


def test_concatenated_attention_is_the_same_for_every_word_and_has_dead_weights() -> None:
    weights = drawn(aca_shapes(SMALL_ACA), 7)
    given = posts(seed=8)
    stages = equations.stages(weights, given.words[0], given.chars[0], given.regions[0])
    assert np.ptp(stages["text"], axis=0).min() > 0.01
    for stage in ("image_read", "text_read"):
        assert np.ptp(stages[stage], axis=0).max() < 1e-12
    other = equations.stages(weights, given.words[0], given.chars[0], given.regions[1])
    assert other["text_read"] == pytest.approx(stages["text_read"], abs=1e-12)
    attention = ConcatAttention(200)
    seen = [torch.randn(2, 9, 200), torch.ones(2, 9, dtype=torch.bool)]
    torch.autograd.backward([part.square().sum() for part in attention(*seen, *seen)])
    gradients = {name: parameter.grad for name, parameter in attention.named_parameters()}
    assert all(gradients[name] is None for name in ("text_1.weight", "text_1.bias", "image_2.weight", "image_2.bias"))
    dead = sum(
        parameter.numel() if parameter.grad is None else int((parameter.grad == 0).sum())
        for parameter in attention.parameters()
    )
    assert dead == 80_802


def test_only_additive_attention_lets_a_word_look_for_itself() -> None:
    """Two words, two regions: with ``concat`` no picture makes the first word look elsewhere than the second."""
    for kind, differs in (("concat", False), ("additive", True)):
        model = small(attention=kind)
        words, regions = torch.randn(1, 6, 8), torch.randn(1, REGIONS, 8)
        there = torch.ones(1, 6, dtype=torch.bool), torch.ones(1, REGIONS, dtype=torch.bool)
        read = model.attention(words, there[0], regions, there[1])[1]
        assert bool((read - read[:, :1]).abs().max() > 0.01) is differs


def test_long_texts_are_gone_through_in_parts_with_the_same_scores_and_gradients() -> None:
    torch.manual_seed(0)
    width, size = 16, 1100
    assert size * size * width > CELLS_MAX
    attention = AdditiveAttention(width)
    words, regions = torch.randn(1, size, width, requires_grad=True), torch.randn(1, 3, width)
    mask, there = torch.ones(1, size, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
    text, image = attention(words, mask, regions, there)
    (found,) = torch.autograd.grad(text.square().sum(), words)
    image = attention(words, mask, regions, there)[1]
    both = attention.image_2(image).unsqueeze(2) + attention.text_2(words).unsqueeze(1)
    at_once = torch.softmax(attention.score_2(torch.tanh(both)).squeeze(-1), dim=-1) @ words
    assert torch.allclose(text, at_once, atol=1e-5)
    assert torch.allclose(found, torch.autograd.grad(at_once.square().sum(), words)[0], atol=1e-4)


# --- what must not change scores -------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["concat", "additive"])
def test_the_order_of_regions_and_pictures_tells_nothing_but_the_picture_does(attention: str) -> None:
    model, batch = small(attention=attention), posts().batch()
    scores = scored(model, batch)
    assert batch.regions is not None
    turned = replace(batch, regions=batch.regions[:, :, [3, 1, 4, 0, 2]])
    assert torch.allclose(scored(model, turned), scores, atol=1e-5)
    assert (scored(model, rolled(batch)) - scores)[batch.mask].abs().max() > 1e-3
    two = torch.cat([batch.regions, batch.regions.roll(1, dims=0)], dim=1)
    shown = torch.tensor([[True, True], [True, False], [True, True]])
    two = two.masked_fill(~shown[:, :, None, None], 0)
    several = scored(model, replace(batch, regions=two, picture_mask=shown))
    swapped = scored(model, replace(batch, regions=two.flip(1), picture_mask=shown.flip(1)))
    assert torch.allclose(several, swapped, atol=1e-5)
    assert torch.allclose(several[1], scores[1], atol=1e-5)
    assert (several[0] - scores[0]).abs().max() > 1e-3


@pytest.mark.parametrize("attention", ["concat", "additive"])
def test_padding_and_the_rest_of_the_batch_change_nothing_under_the_mask(attention: str) -> None:
    model, batch = small(attention=attention), posts().batch()
    together = scored(model, batch)
    assert batch.chars is not None and batch.regions is not None
    for row, length in enumerate(LENGTHS):
        one = Batch(
            tokens=batch.tokens[row : row + 1, :length],
            mask=batch.mask[row : row + 1, :length],
            chars=batch.chars[row : row + 1, :length],
            regions=batch.regions[row : row + 1],
        )
        assert torch.allclose(scored(model, one)[0], together[row, :length], atol=1e-5)


def test_without_the_mask_padding_changes_scores_as_in_the_reference() -> None:
    model, batch = small(mask_pad=False), posts().batch()
    assert batch.chars is not None
    longer = replace(
        batch,
        tokens=torch.nn.functional.pad(batch.tokens, (0, 4)),
        mask=torch.nn.functional.pad(batch.mask, (0, 4)),
        chars=torch.nn.functional.pad(batch.chars, (0, 0, 0, 4)),
    )
    assert (scored(model, longer)[0, :6] - scored(model, batch)[0]).abs().max() > 1e-3


def test_a_post_without_a_picture_sees_zeros_alone_and_beside_others() -> None:
    model, batch = small(), posts().batch()
    assert batch.regions is not None and batch.picture_mask is not None
    shown = torch.tensor([[True], [False], [True]])
    mixed = replace(batch, regions=batch.regions.masked_fill(~shown[:, :, None, None], 0), picture_mask=shown)
    none = replace(batch, regions=None, picture_mask=None)
    zeros = replace(batch, regions=torch.zeros_like(batch.regions))
    assert torch.allclose(scored(model, mixed)[1], scored(model, none)[1], atol=1e-6)
    assert torch.allclose(scored(model, zeros), scored(model, none), atol=1e-6)
    assert torch.allclose(scored(model, mixed)[[0, 2]], scored(model, batch)[[0, 2]], atol=1e-6)


def test_an_empty_post_is_scored_without_nan() -> None:
    batch = posts().batch()
    nobody = replace(batch, mask=torch.zeros_like(batch.mask))
    for attention in ("concat", "additive"):
        assert bool(scored(small(attention=attention), nobody).isfinite().all())


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"tokens": 5, "chars": 0, "region_size": 4}, "characters: a coder of kind tokens with chars"),
        ({"tokens": 5, "chars": 5, "region_size": 4, "hidden": 7}, "hidden even"),
        ({"tokens": 5, "chars": 5}, "region_size"),
        ({"tokens": 5, "chars": 5, "region_size": 4, "attention": "sum"}, "attention"),
        ({"tokens": 5, "chars": 5, "region_size": 4, "characters": {"kernels": []}}, "kernels"),
    ],
)
def test_wrong_settings_say_what_is_wrong(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        families.build("aca", settings, ["O"])


def test_characters_and_regions_of_the_right_size_are_asked_for() -> None:
    model, batch = small(), posts().batch()
    with pytest.raises(ValueError, match="the batch has none"):
        model.scores(replace(batch, chars=None))
    assert batch.regions is not None
    with pytest.raises(ValueError, match="regions have 4 numbers, the model reads 9"):
        model.scores(replace(batch, regions=batch.regions[..., :4]))


def test_short_tokens_are_padded_to_the_widest_kernel() -> None:
    model, batch = small(), posts().batch()
    assert batch.chars is not None
    one = replace(batch, chars=batch.chars[:, :, :1])
    assert scored(model, one).shape == (3, 6, SMALL_ACA.labels)
