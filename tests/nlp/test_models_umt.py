"""UMT against its equations, and what must not change its scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nlp.backbones import TextBackbone, text_encoder
from nlp.batch import Batch
from nlp.models import families
from nlp.models.umt import Umt, conversion, span_labels
from nlp.reference import Options, convert, own_name
from nlp.training.config import label_set
from tests.nlp.equations import layers
from tests.nlp.equations import umt as equations
from tests.nlp.equations.checkpoints import SMALL_UMT, Arrays, UmtSizes, drawn, tensors, umt_shapes

HEADS = 3
LENGTHS = (7, 4, 2)
LABELS = label_set("umt", frozenset({"PER", "LOC", "ORG", "MISC"}))
PLAIN = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


@dataclass(frozen=True)
class Posts:
    """Ids (B, S), mask (B, S), maps (B, D, 7, 7), labels (B, S)."""

    words: NDArray[np.int64]
    mask: NDArray[np.bool_]
    maps: NDArray[np.float64]
    labels: NDArray[np.int64]

    def batch(self) -> Batch:
        regions = torch.from_numpy(self.maps).float().flatten(2).transpose(1, 2).unsqueeze(1)
        return Batch(
            tokens=torch.from_numpy(self.words),
            mask=torch.from_numpy(self.mask),
            regions=regions,
            picture_mask=torch.ones(regions.shape[:2], dtype=torch.bool),
            labels=torch.from_numpy(self.labels),
        )


def posts(seed: int = 0) -> Posts:
    chance = np.random.default_rng(seed)
    shape = (len(LENGTHS), max(LENGTHS))
    return Posts(
        words=chance.integers(0, SMALL_UMT.words, shape),
        mask=np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None],
        maps=chance.normal(size=(len(LENGTHS), SMALL_UMT.region, 7, 7)),
        labels=chance.integers(0, SMALL_UMT.labels, shape),
    )


def weights_of(seed: int, **changes: Any) -> Arrays:
    return drawn(umt_shapes(replace(SMALL_UMT, **changes)), seed)


def converted(weights: Arrays, **options: Any) -> Umt:
    model = convert(tensors(weights), "umt", Options(n_heads=HEADS, **options)).model
    assert isinstance(model, Umt)
    return model


@torch.no_grad()
def scored(model: Umt, batch: Batch) -> torch.Tensor:
    return model.scores(batch).emissions


# --- parity ----------------------------------------------------------------------------------------------------------


def test_weights_have_the_shapes_of_the_reference_and_as_many_numbers() -> None:
    sizes = UmtSizes()
    given = {"tokens": sizes.words, "region_size": sizes.region, "map_layer": True}
    with torch.random.fork_rng(devices=[]):
        model = families.build("umt", given, LABELS)
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    shapes = umt_shapes(sizes)
    pooler = {name: shapes.pop(name) for name in list(shapes) if name.startswith("bert.pooler")}
    assert own == {own_name(name, "umt"): shape for name, shape in shapes.items()}
    unread = sum(int(np.prod(shape)) for shape in pooler.values())
    assert sum(parameter.numel() for parameter in model.parameters()) + unread == 142_650_902


@torch.no_grad()
@pytest.mark.parametrize("map_layer", [True, False])
def test_every_stage_is_that_of_the_equations(map_layer: bool) -> None:
    weights, given = weights_of(0, map_layer=map_layer), posts()
    model, batch = converted(weights), given.batch()
    rows = zip(given.words, given.mask, given.maps, strict=True)
    expected = [equations.stages(weights, HEADS, *row) for row in rows]
    assert batch.regions is not None
    regions = batch.regions[:, 0]
    there = torch.ones(regions.shape[:2], dtype=torch.bool)
    words = model.map(model.text(batch.tokens, batch.mask))
    context = model.context_layer(words, words, batch.mask)
    fused = model.cross(context, batch.mask, regions, there)
    scores = model.scores(batch)
    assert scores.auxiliary is not None
    found = {
        "words": words,
        "spans": scores.auxiliary,
        "context": context,
        "image_aware": model.cross.image_aware(context, model.cross.to_keys(regions), there),
        "word_aware": fused[..., : SMALL_UMT.hidden],
        "gated": fused[..., SMALL_UMT.hidden :],
        "logits": scores.emissions,
    }
    for stages in expected:
        stages["gated"] = stages["gate"] * stages["image_aware"]
    for stage, values in found.items():
        assert values.numpy() == pytest.approx(np.stack([one[stage] for one in expected]), abs=2e-5), stage


def mean_loss(weights: Arrays, given: Posts) -> float:
    """By the equations: the labels, and with half the weight the spans."""
    spans = [0, 1, *[2, 3] * 4, 4, 5, 6]
    each = []
    for words, mask, feature_map, labels in zip(given.words, given.mask, given.maps, given.labels, strict=True):
        stages, length = equations.stages(weights, HEADS, words, mask, feature_map), int(mask.sum())
        path = labels[:length]
        own = layers.negative_log_likelihood(weights, "crf", stages["logits"][:length], path)
        aux = [spans[label] for label in path]
        each.append(own + 0.5 * layers.negative_log_likelihood(weights, "aux_crf", stages["spans"][:length], aux))
    return float(np.mean(each))


def test_loss_and_gradients_are_those_of_the_equations() -> None:
    weights, given = weights_of(1), posts(1)
    model = converted(weights)
    loss = model.loss(given.batch())
    torch.autograd.backward(loss)
    assert float(loss.detach()) == pytest.approx(mean_loss(weights, given), rel=1e-5)
    chance = np.random.default_rng(6)
    parameters = dict(model.named_parameters())
    for name, value in weights.items():
        if name.startswith("bert.pooler"):
            continue
        direction = chance.normal(size=value.shape)
        direction /= np.linalg.norm(direction)
        ends = [mean_loss({**weights, name: value + step * direction}, given) for step in (1e-4, -1e-4)]
        gradient = parameters[own_name(name, "umt") or ""].grad
        assert gradient is not None, name
        found = float((gradient.double() * torch.from_numpy(direction)).sum())
        assert found == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=5e-3, abs=2e-4), name


def test_the_loss_may_be_a_sum_and_the_second_head_may_count_for_nothing() -> None:
    weights, batch = weights_of(1), posts(1).batch()
    model = converted(weights)
    mean = float(model.loss(batch).detach())
    changes: dict[str, dict[str, Any]] = {"sum": {"crf_reduction": "sum"}, "alone": {"auxiliary_weight": 0.0}}
    losses = {}
    for name, switches in changes.items():
        settings = {**{field: getattr(model.settings, field) for field in model.settings.__struct_fields__}, **switches}
        other = families.build("umt", settings, LABELS).eval()
        other.load_state_dict(model.state_dict())
        losses[name] = float(other.loss(batch).detach())
    assert losses["sum"] == pytest.approx(len(LENGTHS) * mean, rel=1e-5)
    assert losses["alone"] < mean - 0.1


def test_the_conversion_is_that_of_the_reference_and_of_plain_labels() -> None:
    assert span_labels(LABELS) == ("PAD", "O", "B", "I", "X", "[CLS]", "[SEP]")
    assert np.array(conversion(LABELS)) == pytest.approx(equations.CONVERSION)
    assert span_labels(PLAIN) == ("O", "B", "I")
    assert conversion(PLAIN) == [[1, 0, 0, 0, 0], [0, 0.5, 0, 0.5, 0], [0, 0, 0.5, 0, 0.5]]


# --- the layout of regions -------------------------------------------------------------------------------------------


def test_regions_may_be_scrambled_as_in_the_reference() -> None:
    weights, given = weights_of(2), posts(2)
    correct, scrambled = converted(weights), converted(weights, region_layout="reference")
    batch = given.batch()
    rows = zip(given.words, given.mask, map(equations.scrambled, given.maps), strict=True)
    expected = np.stack([equations.stages(weights, HEADS, *row)["logits"] for row in rows])
    assert scored(scrambled, batch).numpy() == pytest.approx(expected, abs=2e-5)
    assert (scored(correct, batch) - scored(scrambled, batch)).abs().max() > 1e-2
    assert batch.regions is not None
    turned = replace(batch, regions=batch.regions[:, :, torch.randperm(49)])
    assert torch.allclose(scored(correct, turned), scored(correct, batch), atol=2e-5)
    assert (scored(scrambled, turned) - scored(scrambled, batch)).abs().max() > 1e-2


# --- what must not change scores -------------------------------------------------------------------------------------


def test_padding_and_the_rest_of_the_batch_change_nothing() -> None:
    model, batch = converted(weights_of(3)), posts(3).batch()
    together = scored(model, batch)
    assert batch.regions is not None
    for row, length in enumerate(LENGTHS):
        one = Batch(
            tokens=batch.tokens[row : row + 1, :length],
            mask=batch.mask[row : row + 1, :length],
            regions=batch.regions[row : row + 1],
        )
        assert torch.allclose(scored(model, one)[0], together[row, :length], atol=2e-5)


def test_several_pictures_in_any_order_are_one_sequence_of_regions() -> None:
    model, batch = converted(weights_of(3)), posts(3).batch()
    scores = scored(model, batch)
    assert batch.regions is not None
    shown = torch.tensor([[True, True], [True, False], [True, True]])
    two = torch.cat([batch.regions, batch.regions.roll(1, dims=0)], dim=1).masked_fill(~shown[:, :, None, None], 0)
    several = scored(model, replace(batch, regions=two, picture_mask=shown))
    swapped = scored(model, replace(batch, regions=two.flip(1), picture_mask=shown.flip(1)))
    assert torch.allclose(several, swapped, atol=2e-5)
    assert torch.allclose(several[1], scores[1], atol=2e-5)
    assert (several[0] - scores[0]).abs().max() > 1e-2


def test_a_post_without_a_picture_sees_zeros_alone_and_beside_others() -> None:
    model, batch = converted(weights_of(4)), posts(4).batch()
    assert batch.regions is not None
    shown = torch.tensor([[True], [False], [True]])
    mixed = replace(batch, regions=batch.regions.masked_fill(~shown[:, :, None, None], 0), picture_mask=shown)
    none = replace(batch, regions=None, picture_mask=None)
    assert torch.allclose(scored(model, mixed)[1], scored(model, none)[1], atol=2e-5)
    assert torch.allclose(scored(model, mixed)[[0, 2]], scored(model, batch)[[0, 2]], atol=2e-5)
    assert (scored(model, none) - scored(model, batch)).abs().max() > 1e-2


def test_an_empty_post_is_scored_without_nan() -> None:
    batch = posts().batch()
    assert bool(scored(converted(weights_of(0)), replace(batch, mask=torch.zeros_like(batch.mask))).isfinite().all())


# --- encoders of texts, freezing, errors -----------------------------------------------------------------------------


def test_its_layers_are_those_of_transformers() -> None:
    """The same weights in BERT of transformers give the same states; a pretrained one may take its place."""
    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": HEADS, "intermediate_size": 20}
    spec = TextBackbone(config={"model_type": "bert", "vocab_size": 19, "max_position_embeddings": 16, **sizes})
    theirs = text_encoder(spec).eval()
    weights, batch = weights_of(5), posts(5).batch()
    own = converted(weights)
    state = {name.removeprefix("bert."): value for name, value in tensors(weights).items() if name.startswith("bert.")}
    known = {name: value for name, value in state.items() if not name.startswith("pooler")}
    theirs.model.load_state_dict(known, strict=True)
    with torch.no_grad():
        states = own.text(batch.tokens, batch.mask)[batch.mask]
        assert torch.allclose(theirs(batch.tokens, batch.mask)[batch.mask], states, atol=1e-5)
    settings = {"heads": HEADS, "inner": 20, "region_size": 10, "map_layer": True}
    over = families.build("umt", settings, LABELS, theirs).eval()
    rest = {name: value for name, value in own.state_dict().items() if not name.startswith("text.")}
    over.load_state_dict(rest, strict=False)
    with torch.no_grad():
        assert torch.allclose(over.scores(batch).emissions[batch.mask], scored(own, batch)[batch.mask], atol=2e-5)


def test_the_first_layers_may_be_frozen() -> None:
    settings = {"tokens": 9, "hidden": 12, "layers": 3, "heads": 3, "region_size": 4, "frozen_layers": 2}
    model = families.build("umt", settings, PLAIN)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[1] for name in frozen} == {"words", "places", "segments", "norm", "layers"}
    assert {name.split(".")[2] for name in frozen if ".layers." in name} == {"0", "1"}
    assert all(name.startswith("text.") for name in frozen)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"region_size": 4}, "needs an encoder of texts"),
        ({"tokens": 9, "region_size": 4, "heads": 5}, "5 do not divide the width of a state, 768"),
        ({"tokens": 9}, "region_size"),
        ({"tokens": 9, "region_size": 4, "mixing": 2}, "mixing"),
        ({"tokens": 9, "region_size": 4, "region_layout": "upside down"}, "region_layout"),
        ({"tokens": 9, "region_size": 4, "layers": 2, "frozen_layers": 3}, "frozen_layers"),
    ],
)
def test_wrong_settings_say_what_is_wrong(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        families.build("umt", settings, LABELS)


def test_a_text_that_is_too_long_says_so() -> None:
    model, batch = converted(weights_of(0)), posts().batch()
    long = torch.ones(1, 17, dtype=torch.int64)
    with pytest.raises(ValueError, match="17 tokens at once, but the encoder has 16 places"):
        model.scores(replace(batch, tokens=long, mask=long.bool()))
