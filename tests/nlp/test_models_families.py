"""What holds for every family: padding, other posts and the order of what a picture shows change nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nlp.artifact import CONFIG, WEIGHTS, ArtifactError
from nlp.backbones import PictureBackbone, PictureEncoder, picture_encoder
from nlp.batch import Batch
from nlp.models import families
from nlp.models.image import sinusoids
from tests.nlp.small_models import ALL, LABELS, REGION, SETTINGS, TOKENS, WITH_PICTURES, posts, scores, small


def assert_same(found: Tensor, expected: Tensor) -> None:
    """Equal but for what another order of sums changes."""
    torch.testing.assert_close(found, expected, rtol=0.0, atol=2e-6)


def one(batch: Batch, row: int) -> Batch:
    """One post of a batch, without padding of any kind."""
    size = int(batch.mask[row].sum())
    there = None if batch.picture_mask is None else batch.picture_mask[row]
    shown = there is not None and bool(there.any())
    return Batch(
        tokens=batch.tokens[row : row + 1, :size],
        mask=batch.mask[row : row + 1, :size],
        chars=None if batch.chars is None else batch.chars[row : row + 1, :size],
        regions=batch.regions[row : row + 1, there] if shown and batch.regions is not None else None,
        picture_mask=torch.ones(1, int(there.sum()), dtype=torch.bool) if shown and there is not None else None,
        labels=None if batch.labels is None else batch.labels[row : row + 1, :size],
    )


@pytest.mark.parametrize("name", ALL)
def test_a_post_has_the_same_scores_alone_and_in_any_batch(name: str) -> None:
    model, batch = small(name), posts((9, 4, 1, 7), (2, 0, 3, 1))
    together = scores(model, batch)
    for row, size in enumerate(batch.mask.sum(dim=1).tolist()):
        assert_same(scores(model, one(batch, row))[0], together[row, :size])


@pytest.mark.parametrize("name", ALL)
def test_what_stands_in_padding_changes_nothing(name: str) -> None:
    model, batch = small(name), posts((9, 4, 7), (1, 2, 0))
    assert batch.chars is not None
    other = replace(
        batch,
        tokens=torch.where(batch.mask, batch.tokens, 3),
        chars=torch.where(batch.mask[:, :, None], batch.chars, 2),
        labels=None,
    )
    inside = batch.mask
    assert_same(scores(model, other)[inside], scores(model, batch)[inside])


@pytest.mark.parametrize("name", ["bilstm", "fusion"])
def test_more_room_for_characters_changes_nothing(name: str) -> None:
    model, batch = small(name), posts((6, 3), (1, 0))
    assert batch.chars is not None
    roomy = replace(batch, chars=functional.pad(batch.chars, (0, 4)))
    assert_same(scores(model, roomy)[batch.mask], scores(model, batch)[batch.mask])


@pytest.mark.parametrize("name", ALL)
def test_the_loss_of_a_batch_is_the_mean_of_its_posts(name: str) -> None:
    model, batch = small(name), posts((6, 3, 5), (1, 0, 2))
    with torch.no_grad():
        alone = torch.stack([model.loss(one(batch, row)) for row in range(3)])
        torch.testing.assert_close(model.loss(batch), alone.mean(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", WITH_PICTURES)
def test_pictures_and_regions_in_another_order_change_nothing(name: str) -> None:
    model, batch = small(name), posts((8, 5), (3, 2))
    assert batch.regions is not None and batch.picture_mask is not None
    order, places = torch.tensor([2, 0, 1]), torch.tensor([3, 1, 0, 2])
    turned = replace(batch, regions=batch.regions[:, order][:, :, places], picture_mask=batch.picture_mask[:, order])
    inside = batch.mask
    assert_same(scores(model, turned)[inside], scores(model, batch)[inside])


@pytest.mark.parametrize("name", WITH_PICTURES)
def test_another_picture_changes_the_scores(name: str) -> None:
    model, batch = small(name), posts((8, 5), (1, 1))
    assert batch.regions is not None
    swapped = scores(model, replace(batch, regions=batch.regions.flip(0)))
    assert bool(((swapped - scores(model, batch)).abs().amax(dim=2) > 1e-4)[batch.mask].all())


@pytest.mark.parametrize("name", ALL)
def test_every_weight_learns_but_those_that_softmax_cancels(name: str) -> None:
    model, batch = small(name), posts((8, 5, 6), (2, 1, 0))
    model.loss(batch).backward()  # type: ignore[no-untyped-call]
    idle = {key for key, weight in model.named_parameters() if weight.grad is None or not bool(weight.grad.any())}
    # A softmax cancels what is the same for all keys; in concatenated co-attention that is all of the query's part.
    parts = ("text_1.weight", "text_1.bias", "image_2.weight", "image_2.bias", "score_1.bias", "score_2.bias")
    cancelled = {f"attention.{part}" for part in parts} if name == "aca concat" else set()
    assert {key for key in idle if not key.endswith(".key.bias")} == cancelled


def test_image_knows_of_the_text_only_how_long_it_is() -> None:
    model, batch = small("image"), posts((8, 5), (1, 1))
    torch.testing.assert_close(scores(model, replace(batch, tokens=batch.tokens.flip(1))), scores(model, batch))
    places = sinusoids(20, 8, torch.device("cpu"))
    assert len(torch.unique(places, dim=0)) == 20


@pytest.mark.parametrize("name", ALL)
def test_a_folder_gives_the_model_back(name: str, tmp_path: Path) -> None:
    model, batch = small(name, seed=3), posts((8, 5), (2, 1))
    families.save_model(tmp_path, model, SETTINGS[name][0], LABELS)
    before = torch.random.get_rng_state()
    loaded, labels = families.load_model(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert labels == LABELS and loaded.settings == model.settings and not loaded.training
    assert torch.equal(scores(loaded, batch), scores(model, batch))


def test_whoever_reads_a_models_config_reads_its_weights(tmp_path: Path) -> None:
    families.save_model(tmp_path, small("bilstm"), "bilstm", LABELS)
    assert (tmp_path / WEIGHTS).stat().st_mode == (tmp_path / CONFIG).stat().st_mode


def test_pixels_go_through_the_models_own_encoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = picture_encoder(PictureBackbone(config={"architecture": "small", "channels": [8, REGION * 2]}, grid=2))
    model = families.build("image", {"hidden": 8}, LABELS, None, encoder).eval()
    pixels = torch.randn(3, 3, 16, 16)
    rows = torch.tensor([0, 2, 2])
    batch = replace(posts((5, 4, 6), (0, 0, 0)), regions=None, picture_mask=None, pixels=pixels, picture_post=rows)
    with torch.no_grad():
        made = encoder(pixels)
    regions = torch.zeros(3, 2, *made.shape[1:])
    regions[0, 0], regions[2, 0], regions[2, 1] = made
    there = torch.tensor([[True, False], [False, False], [True, True]])
    given = replace(batch, pixels=None, picture_post=None, regions=regions, picture_mask=there)
    torch.testing.assert_close(scores(model, batch), scores(model, given))
    families.save_model(tmp_path, model, "image", LABELS)
    loaded, _ = families.load_model(tmp_path)
    assert families.encoder_of(loaded, PictureEncoder) is not None
    assert torch.equal(scores(loaded, batch), scores(model, batch))
    with pytest.raises(ValueError, match="picture encoder"):
        small("image").scores(batch)


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        ("lstm", {}, "family 'lstm': expected one of bilstm, transformer, image, aca, umt, fusion"),
        ("bilstm", {"tokens": 5, "size": 3}, "settings of bilstm: .*`size`.*it has tokens, chars, reader"),
        ("bilstm", {"tokens": "many"}, "settings of bilstm: Expected `int`"),
        ("bilstm", {"tokens": 5, "reader": {"hidden": 7}}, "hidden must be even"),
        ("bilstm", {"tokens": 1}, "tokens: 1: expected how many"),
        ("transformer", {}, "transformer needs an encoder of texts"),
        ("image", {}, "region_size: without an encoder"),
        ("image", {"hidden": 6, "region_size": 3}, "heads: 4 do not divide"),
        ("aca", {"tokens": TOKENS, "chars": 0}, "aca reads tokens and their characters"),
        ("umt", {"region_size": 3}, "umt needs an encoder of texts"),
        ("umt", {"region_size": 3, "tokens": 9, "hidden": 8, "heads": 3}, "heads: 3 do not divide"),
        ("fusion", {"tokens": TOKENS, "region_size": 3, "picture_dropout": 1}, "picture_dropout must be from 0"),
    ],
)
def test_settings_that_do_not_fit_are_told(family: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        families.build(family, settings, LABELS)


def test_labels_stand_once() -> None:
    with pytest.raises(ValueError, match="labels: expected one or more, each once"):
        families.build("bilstm", {"tokens": TOKENS}, ("O", "O"))


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no model"):
        families.load_model(tmp_path)
    families.save_model(tmp_path, small("bilstm"), "bilstm", LABELS)
    (tmp_path / CONFIG).write_text((tmp_path / CONFIG).read_text().replace('"hidden": 12', '"hidden": 14'))
    with pytest.raises(ArtifactError, match=f"{CONFIG} and {WEIGHTS} do not belong together"):
        families.load_model(tmp_path)


def test_a_loss_needs_labels() -> None:
    with pytest.raises(ValueError, match="a batch with labels"):
        small("bilstm").loss(replace(posts((3,), (0,)), labels=None))


def test_parameters_of_encoders_are_told_apart() -> None:
    own = families.encoder_parameters(small("transformer"))
    names = {name for name, _ in small("transformer").named_parameters()}
    assert own and {name for name in names - own} == {
        "classifier.weight", "classifier.bias", "crf.start", "crf.end", "crf.transitions",
    }  # fmt: skip
    assert families.encoder_parameters(small("umt")) == frozenset()
