"""Model folders of every family behind the port: saved, loaded, tagging in batches."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nlp import artifact
from nlp.artifact import ArtifactError
from nlp.backbones import PictureBackbone, TextBackbone, picture_encoder, text_encoder
from nlp.labels import bio_labels
from nlp.models import families
from nlp.serving import loading
from nlp.serving.settings import TaggerSettings
from nlp.serving.torch_tagger import TorchTagger
from nlp.training import trained
from nlp.training.card import ModelCard
from nlp.training.coder import TokenCoder, TokenCoding, vocabulary_of
from nlp.training.pictures import PictureInput
from nlp.training.trained import Trained
from stream.contract.ports import TagInput, tagged
from stream.contract.records import Span
from tests.nlp.serving_models import BLUE, GREY, PREPROCESS, RED, Problems, picture

LABELS = bio_labels(["B-LOC", "B-PER"])
TEXTS = ["周杰伦在上海开演唱会", "今天天气好", "王菲", "在北京，在上海，在广州，在深圳，听周杰伦和王菲唱歌"]
CODING = TokenCoding(tokens_max=32, chars=3)
VOCABULARY = vocabulary_of(TEXTS, CODING)
SIZE = len(VOCABULARY.tokens) + 2
CHARS = len(VOCABULARY.chars) + 2
ACA = {"tokens": SIZE, "chars": CHARS, "token_size": 8, "hidden": 16}
READER = {"token_size": 16, "hidden": 16}
FAMILIES: dict[str, dict[str, Any]] = {
    "bilstm": {"tokens": SIZE, "reader": READER},
    "transformer": {},
    "image": {"hidden": 16},
    "fusion": {"tokens": SIZE, "reader": READER},
    "aca": ACA,
    "umt": {"tokens": SIZE, "hidden": 16, "layers": 1, "heads": 2, "positions": 40},
}
QUIET = TaggerSettings(device="cpu", threads=1)


def made(family: str, folder: Path, seed: int = 0, **settings: Any) -> Trained:
    """A model of ``family`` with random weights, saved in ``folder``; ``settings``: more of them."""
    torch.manual_seed(seed)
    kind = families.model_type(family)
    text = None
    if family in ("transformer",):
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        text = text_encoder(TextBackbone(config={"model_type": "bert", "vocab_size": SIZE, **sizes}))
    config = {"architecture": "small", "channels": [8, 16]}
    pictures = picture_encoder(PictureBackbone(config=config, grid=2)) if kind.sees_pictures else None
    model = families.build(family, {**FAMILIES[family], **settings}, LABELS, text, pictures)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.weight.data *= 3  # so that random weights make up their mind
    none = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    scores = {"micro": none, "lenient": none, "per_type": {}, "seen": none, "unseen": none}
    card = ModelCard(
        name=family, family=family, data={}, seed=seed, settings={}, labels=LABELS, scores=scores, calibration=None,
        epochs=1, minutes=0, device="cpu", pictures={}, limits=(), versions={},
    )  # fmt: skip
    return trained.save(
        folder,
        Trained(
            family=family, labels=LABELS, model=model.eval(), coder=TokenCoder(CODING, VOCABULARY),
            pictures=PictureInput(preprocess=PREPROCESS) if kind.sees_pictures else None,
            names=frozenset({("上海", "LOC")}), card=card,
        ),
    )  # fmt: skip


def posts(count: int) -> list[TagInput]:
    chance = random.Random(5)
    shown = [picture(f"p{n}", colour, n) for n, colour in enumerate((RED, BLUE, GREY))]
    return [
        TagInput("".join(chance.choices(TEXTS, k=chance.choice((1, 1, 2, 6)))), tuple(chance.sample(shown, n % 4)))
        for n in range(count)
    ]


def places(spans: Sequence[Span]) -> list[tuple[Any, ...]]:
    return [(span.start, span.end, span.type, span.provenance, span.picture_id) for span in spans]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_of_any_family_is_served_and_batches_change_nothing(family: str, tmp_path: Path) -> None:
    model = made(family, tmp_path / family)
    tagger = loading.load(tmp_path / family, QUIET, Problems())
    assert isinstance(tagger, TorchTagger)
    assert tagger.model_version == model.model_version == f"{family}-{model.card.files[artifact.WEIGHTS][:8]}"
    assert tagger.names == {("上海", "LOC")}
    asked = posts(40)
    together = tagged(tagger, asked)
    assert sum(map(len, together)) > 20
    seen = [span for spans in together for span in spans if span.provenance == "image"]
    assert bool(seen) == families.model_type(family).sees_pictures
    for post, spans in zip(asked, together, strict=True):
        alone = tagged(tagger, [post])[0]
        assert places(alone) == places(spans)
        assert all(abs(a.confidence - b.confidence) <= 1.01e-4 for a, b in zip(alone, spans, strict=True))


@pytest.mark.parametrize("attention", ["concat", "additive"])
def test_an_aca_that_sees_padding_is_given_none(attention: str, tmp_path: Path) -> None:
    made("aca", tmp_path, mask_pad=False, attention=attention)
    tagger = loading.load(tmp_path, QUIET, Problems())
    asked = posts(30)
    together = tagged(tagger, asked)
    assert sum(map(len, together)) > 10
    assert [places(spans) for spans in together] == [places(tagged(tagger, [post])[0]) for post in asked]


def test_without_pictures_the_fusion_says_of_posts_what_it_says_of_their_texts(tmp_path: Path) -> None:
    made("fusion", tmp_path)
    tagger = loading.load(tmp_path, QUIET, Problems())
    asked = posts(30)
    mixed = tagged(tagger, [TagInput(post.text, () if n % 2 else post.pictures) for n, post in enumerate(asked)])
    bare = tagged(tagger, [TagInput(post.text) for post in asked])
    assert [places(spans) for spans in mixed[1::2]] == [places(spans) for spans in bare[1::2]]
    assert mixed[::2] != bare[::2]


def test_the_default_model_needs_no_family_in_its_folder() -> None:
    assert loading.family_of(artifact.DEFAULT) == loading.TOWERS
    assert not isinstance(loading.load(None, QUIET, Problems()), TorchTagger)


def test_a_damaged_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    made("bilstm", tmp_path / "good")

    def broken(name: str, change: Any) -> Path:
        folder = tmp_path / name
        shutil.copytree(tmp_path / "good", folder)
        change(folder)
        return folder

    def flip(folder: Path) -> None:
        data = bytearray((folder / artifact.WEIGHTS).read_bytes())
        data[-1] ^= 1
        (folder / artifact.WEIGHTS).write_bytes(data)

    def unsigned(folder: Path) -> None:
        card = json.loads((folder / artifact.CARD).read_bytes()) | {"files": {}}
        (folder / artifact.CARD).write_text(json.dumps(card))

    towers = tmp_path / "towers"
    shutil.copytree(artifact.DEFAULT, towers)
    unsigned(towers)
    cases = {
        f"no digest of {artifact.CONFIG}, {artifact.LEXICON}, {artifact.ONNX};": towers,
        "is not the file that was saved": broken("flipped", flip),
        f"no digest of {artifact.CONFIG}, {artifact.WEIGHTS}, {trained.TRAINED};": broken("unsigned", unsigned),
        "is no folder of a trained model": broken("cardless", lambda folder: (folder / artifact.CARD).unlink()),
        "is no model folder": tmp_path / "nowhere",
        "damaged": broken("torn", lambda folder: (folder / artifact.CONFIG).write_text("{")),
    }
    for why, folder in cases.items():
        with pytest.raises(ArtifactError, match=why):
            loading.load(folder, QUIET, Problems())


def test_cuda_that_is_not_there_is_refused(tmp_path: Path) -> None:
    made("bilstm", tmp_path)
    if torch.cuda.is_available():
        assert loading.load(tmp_path, TaggerSettings(device="cuda"), Problems())
        return
    with pytest.raises(ArtifactError, match="sees no CUDA device"):
        loading.load(tmp_path, TaggerSettings(device="cuda"), Problems())
