"""The fusion is the text-only model where there is no picture, to the last bit, and learns to keep the text."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from nlp.batch import Batch
from nlp.models.base import Tagging
from nlp.models.fusion import Fusion
from nlp.models.picture_attention import AttentionSettings, PictureAttention
from nlp.models.regions import Regions
from tests.nlp.small_models import REGION, WIDTH, posts, scores, small

PAIRS = [("fusion", "bilstm"), ("fusion, encoder", "transformer")]


def with_weights_of(text: Tagging, fusion: Tagging) -> Tagging:
    """The fusion with all weights of a text-only model, which have the same names in it."""
    told = fusion.load_state_dict(text.state_dict(), strict=False)
    assert not told.unexpected_keys
    assert {key.partition(".")[0] for key in told.missing_keys} == {"attention", "gate"}
    return fusion


@pytest.mark.parametrize(("name", "text_only"), PAIRS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_post_without_a_picture_has_exactly_the_scores_of_the_text_alone(
    name: str, text_only: str, dtype: torch.dtype
) -> None:
    text = small(text_only, seed=1)
    fusion = with_weights_of(text, small(name, seed=2))
    batch = posts((9, 4, 6, 7), (2, 0, 1, 0))
    with torch.autocast("cpu", dtype, enabled=dtype is torch.bfloat16):
        fused, alone = scores(fusion, batch), scores(text, batch)
    assert torch.equal(fused[1], alone[1]) and torch.equal(fused[3], alone[3])
    assert not torch.allclose(fused[0], alone[0], atol=1e-3) and not torch.allclose(fused[2], alone[2], atol=1e-3)
    bare = replace(batch, regions=None, picture_mask=None)
    assert torch.equal(scores(fusion, bare), scores(text, bare))


def test_in_training_some_posts_lose_their_pictures_and_then_only_the_text_learns() -> None:
    batch = posts((9, 4), (1, 1))
    fusion = small("fusion", picture_dropout=0.5)
    assert isinstance(fusion, Fusion)
    alone = scores(fusion, replace(batch, regions=None, picture_mask=None))
    fused = scores(fusion, batch)
    fusion.training = True  # the model's own switch; its layers stay without dropout
    drawn = [scores(fusion, batch) for _ in range(60)]
    for row in range(2):
        lost = sum(torch.equal(found[row], alone[row]) for found in drawn)
        assert 15 <= lost <= 45
        assert lost + sum(torch.equal(found[row], fused[row]) for found in drawn) == 60


def gradients(fusion: Tagging, batch: Batch) -> set[str]:
    fusion.zero_grad()
    fusion.loss(batch).backward()  # type: ignore[no-untyped-call]
    return {name for name, part in fusion.named_parameters() if part.grad is not None and bool(part.grad.any())}


def test_gradients_stay_finite_and_pictures_teach_nothing_where_there_are_none() -> None:
    fusion = small("fusion")
    learned = gradients(fusion, posts((5, 3), (2, 0)))
    assert {"attention.nothing", "attention.value.weight", "gate.gate.weight"} <= learned
    assert all(bool(part.grad.isfinite().all()) for part in fusion.parameters() if part.grad is not None)
    none = gradients(fusion, posts((5, 3), (0, 0)))
    assert not any(name.startswith(("attention.", "gate.")) for name in none)


def test_regions_like_the_no_picture_state_add_nothing() -> None:
    torch.manual_seed(0)
    attention = PictureAttention(WIDTH, REGION, AttentionSettings(heads=2, dropout=0.0)).eval()
    regions = Regions(torch.randn(2, 3, 4, REGION), torch.tensor([[True, True, True], [False, False, False]]))
    states = torch.randn(2, 5, WIDTH)
    with torch.no_grad():
        added = attention(states, regions)
        assert bool((added[0].abs().amax(dim=1) > 1e-3).all()) and not bool(added[1].any())
        enter = attention.region[1]
        assert isinstance(enter, nn.Linear)
        enter.weight.zero_()
        enter.bias.fill_(-20)  # regions that tell nothing: GELU makes zeros of them
        attention.nothing.zero_()
        torch.testing.assert_close(attention(states, regions), torch.zeros_like(added))
