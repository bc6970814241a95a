"""The fusion model against equations written out a second time, its loss and gradients included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nlp.backbones import PictureBackbone, picture_encoder
from nlp.batch import Batch
from nlp.models import families
from nlp.models.base import Tagging
from nlp.models.fusion import Fusion
from nlp.models.regions import Regions, regions_of
from tests.nlp.equations import fusion as equations
from tests.nlp.equations.layers import Array, Weights, negative_log_likelihood

HEADS = 2
SIZES = {"token_size": 5, "char_size": 4, "char_filters": 3, "hidden": 8}
SETTINGS = {"tokens": 12, "chars": 9, "reader": SIZES, "region_size": 6, "attention": {"heads": HEADS}}
LENGTHS, PICTURES = (4, 3, 1, 4), (2, 0, 1, 3)


def batch() -> Batch:
    """Four posts: two pictures, none, one, three; words of up to four characters, some of none."""
    chance = torch.Generator().manual_seed(1)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)
    shown = torch.arange(max(PICTURES)) < torch.tensor(PICTURES).unsqueeze(1)
    spelled = torch.arange(4) < torch.randint(0, 5, (*mask.shape, 1), generator=chance)
    return Batch(
        tokens=torch.randint(1, 12, mask.shape, generator=chance) * mask,
        mask=mask,
        chars=torch.randint(1, 9, (*mask.shape, 4), generator=chance) * spelled * mask.unsqueeze(2),
        regions=torch.randn(4, 3, 5, 6, generator=chance) * shown[:, :, None, None],
        picture_mask=shown,
        labels=torch.randint(0, 3, mask.shape, generator=chance),
    )


def model() -> Tagging:
    """All weights far from zero and one, where fresh ones are in places."""
    torch.manual_seed(2)
    made = families.build("fusion", SETTINGS, ("O", "B-PER", "I-PER")).eval()
    for name, parameter in made.named_parameters():
        nn.init.normal_(parameter, mean=2.0 if name.endswith("norm.weight") else 0.0, std=0.5)
    return made


def weights(made: nn.Module) -> dict[str, Array]:
    """For the equations, in which the CRF has the names of the references."""
    long = {"crf.start": "crf.start_transitions", "crf.end": "crf.end_transitions"}
    return {long.get(name, name): value.double().numpy() for name, value in made.state_dict().items()}


def written_out(w: Weights, given: Batch, post: int) -> Array:
    assert given.chars is not None and given.regions is not None
    own = slice(LENGTHS[post])
    regions = given.regions[post, : PICTURES[post]].flatten(0, 1).double().numpy() if PICTURES[post] else None
    return equations.emissions(w, HEADS, given.tokens[post, own].numpy(), given.chars[post, own].numpy(), regions)


def loss_written_out(w: Weights, given: Batch) -> float:
    assert given.labels is not None
    each = [
        negative_log_likelihood(w, "crf", written_out(w, given, post), given.labels[post, :size].tolist())
        for post, size in enumerate(LENGTHS)
    ]
    return float(np.mean(each))


def test_scores_are_those_of_the_equations() -> None:
    made, given = model(), batch()
    with torch.no_grad():
        found = made.scores(given).emissions
    for post, size in enumerate(LENGTHS):
        np.testing.assert_allclose(found[post, :size], written_out(weights(made), given, post), atol=1e-5)


def test_the_loss_is_that_of_the_equations_and_gradients_those_of_small_steps() -> None:
    made, given = model(), batch()
    loss = made.loss(given)
    loss.backward()  # type: ignore[no-untyped-call]
    at = weights(made)
    assert loss.item() == pytest.approx(loss_written_out(at, given), rel=1e-6)
    chance = np.random.default_rng(3)
    for (name, parameter), key in zip(made.named_parameters(), at, strict=True):
        assert parameter.grad is not None
        step = chance.normal(size=at[key].shape)
        ahead, behind = ({**at, key: at[key] + sign * 1e-5 * step} for sign in (1, -1))
        slope = (loss_written_out(ahead, given) - loss_written_out(behind, given)) / 2e-5
        found = float((parameter.grad.double().numpy() * step).sum())
        assert found == pytest.approx(slope, rel=1e-3, abs=1e-5), name


def test_each_word_reads_the_picture_in_its_own_way() -> None:
    """In ACA all words read the same vector of a picture (docs/models.md)."""
    made, given = model(), batch()
    assert isinstance(made, Fusion) and given.regions is not None and given.picture_mask is not None
    with torch.no_grad():
        added = made.attention(torch.randn(4, 2, 8), Regions(given.regions, given.picture_mask))
    assert nn.functional.cosine_similarity(added[0, 0], added[0, 1], dim=0) < 0.9


def test_pixels_become_the_regions_of_their_posts() -> None:
    torch.manual_seed(1)
    encoder = picture_encoder(PictureBackbone(config={"architecture": "small", "channels": [4, 8]}, grid=2))
    pixels, rows = torch.randn(4, 3, 16, 16), torch.tensor([0, 0, 2, 3])
    given = replace(batch(), regions=None, picture_mask=None, pixels=pixels, picture_post=rows)
    with torch.no_grad():
        found, made = regions_of(given, encoder), encoder(pixels)
    assert found is not None
    assert found.mask.tolist() == [[True, True], [False, False], [True, False], [True, False]]
    assert torch.equal(found.values[found.mask], made)
    assert not found.values[~found.mask].any()


def test_the_loss_is_computed_in_float32_whatever_the_network_is_computed_in() -> None:
    made, given = model(), batch()
    exact = made.loss(given).item()
    with torch.autocast("cpu", torch.bfloat16):
        found = made.scores(given)
        loss = made.loss(given)
    assert loss.dtype == found.emissions.dtype == torch.float32
    assert loss.item() == pytest.approx(exact, rel=0.05)
    assert given.labels is not None
    rounded = made.crf(found.emissions.bfloat16(), given.labels, torch.tensor(LENGTHS))
    with torch.autocast("cpu", torch.bfloat16):
        inside = made.crf(found.emissions.bfloat16(), given.labels, torch.tensor(LENGTHS))
    assert inside.dtype == torch.float32 and torch.equal(inside, rounded)


def test_any_label_may_stand_at_padding() -> None:
    made, given = model(), batch()
    assert given.labels is not None
    other = replace(given, labels=given.labels.masked_fill(~given.mask, -100))
    assert torch.equal(made.loss(other), made.loss(given))
