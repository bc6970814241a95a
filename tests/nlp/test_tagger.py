"""The tagger that ships: same answers on torch and ONNX Runtime, alone and in batches, on long and hostile texts."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from nlp import artifact
from nlp.datasets import Example
from nlp.evaluate import evaluate_examples
from nlp.export import load_torch_tagger
from nlp.tagger import OVERLAP, WINDOW, NeuralTagger, load_tagger
from nlp.towers.run import train
from nlp.towers.settings import NetworkSettings, PretrainingSettings, TowersLoop, TowersSettings
from nlp.training.config import DataFile, DataSettings
from nlp.training.errors import TrainingError
from nlp.training.report import Report
from tests.corpus import demo_posts

DEV = [post for post in demo_posts(pictures=False) if post["split"] == "dev"]
TEXTS = [post["text"] for post in DEV]


@pytest.fixture(scope="module")
def tagger() -> NeuralTagger:
    return load_tagger()


def test_dev_scores_are_those_of_the_card_and_good_enough(tagger: NeuralTagger) -> None:
    examples = [Example(post["id"], tuple(post["text"]), tuple(post["tags"].split())) for post in DEV]
    assert len(examples) == 1000
    found = evaluate_examples(tagger, examples)
    card = msgspec.json.decode((artifact.DEFAULT / artifact.CARD).read_bytes(), type=artifact.Card)
    assert found["micro"]["f1"] == pytest.approx(card.scores["micro"]["f1"], abs=1e-4)
    assert found["unseen"]["recall"] == pytest.approx(card.scores["unseen"]["recall"], abs=1e-4)
    assert found["micro"]["f1"] >= FLOOR


FLOOR = 0.86
"""Below this something broke; the goal of the project is in its issues, the figure reached in the card."""


def test_torch_and_onnx_give_the_same_tags_and_scores_on_all_of_dev(tagger: NeuralTagger) -> None:
    torch_tagger = load_torch_tagger(artifact.DEFAULT)
    for start in range(0, len(TEXTS), 64):
        prepared = tagger.features(TEXTS[start : start + 64])
        ours, theirs = tagger.infer(prepared), torch_tagger.infer(prepared)
        for one, other, bucket in zip(ours, theirs, prepared.buckets, strict=True):
            mask = bucket.features[0].mask[:, :, None]
            np.testing.assert_allclose(one * mask, other * mask, atol=1e-4)
        found, expected = tagger.decode(prepared, ours), torch_tagger.decode(prepared, theirs)
        assert [[(s.start, s.end, s.type) for s in spans] for spans in found] == [
            [(s.start, s.end, s.type) for s in spans] for spans in expected
        ]


def test_a_batch_gives_what_each_text_gives_alone(tagger: NeuralTagger) -> None:
    texts = [*random.Random(3).sample(TEXTS, 60), "", "上"]
    together = tagger.tag(texts)
    for text, spans in zip(texts, together, strict=True):
        assert tagger.tag([text])[0] == spans, "to the last bit: embedded and cluster batch differently"


def test_a_long_text_is_tagged_whole_and_windows_agree(tagger: NeuralTagger) -> None:
    text = "".join(TEXTS)[: 2 * WINDOW]
    shifted = "。" * (OVERLAP * 3) + text
    found = {(s.start, s.end, s.type) for s in tagger.tag([text])[0]}
    moved = {(s.start - 3 * OVERLAP, s.end - 3 * OVERLAP, s.type) for s in tagger.tag([shifted])[0]}
    # What a window is about is a little different when it begins elsewhere.
    assert len(found & moved) / len(found | moved) > 0.9
    assert max(end for _, end, _ in found) > 2 * WINDOW - 500


@pytest.mark.parametrize("shift", [-2, -1, 0])
def test_a_name_across_the_joint_of_two_windows_is_found_whole(tagger: NeuralTagger, shift: int) -> None:
    joint = WINDOW - OVERLAP // 2
    name = "周杰伦"
    before = ("今天天气不错。" * WINDOW)[: joint + shift]
    text = f"{before}{name}在上海开演唱会。" + "今天天气不错。" * 20
    assert (joint + shift, joint + shift + len(name)) in {(s.start, s.end) for s in tagger.tag([text])[0]}


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n\n", "\x00", "😀👨‍👩‍👧‍👦周杰伦", "\ud800上海\udfff", "𠮷野家在上海", "ABC上海", "ﷺ", "a" * 9000],
)
def test_any_text_is_taken_and_spans_are_inside(tagger: NeuralTagger, text: str) -> None:
    for span in tagger.tag([text, "周杰伦在上海"])[0]:
        assert 0 <= span.start < span.end <= len(text)
        assert 0 <= span.confidence <= 1


def test_a_changed_or_missing_model_is_refused(tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(artifact.DEFAULT, copy)
    data = bytearray((copy / artifact.ONNX).read_bytes())
    data[1000] ^= 1
    (copy / artifact.ONNX).write_bytes(data)
    with pytest.raises(artifact.ArtifactError, match="not the file that was saved"):
        load_tagger(copy)
    with pytest.raises(artifact.ArtifactError, match="make train"):
        load_tagger(tmp_path / "nowhere")


def test_the_model_that_ships_is_small_and_runs_without_torch() -> None:
    assert sum(path.stat().st_size for path in artifact.DEFAULT.iterdir()) <= 20_000_000
    code = "import sys; from nlp.tagger import load_tagger; load_tagger().tag(['上海']); exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


@pytest.mark.filterwarnings("ignore:# The axis name:UserWarning")  # torch.onnx: inputs share their free axes
def test_training_is_deterministic_given_the_seed(tmp_path: Path) -> None:
    blocks = []
    for post in DEV[:60]:
        rows = "".join(f"{char}\t{tag}\n" for char, tag in zip(post["text"], post["tags"].split(), strict=True))
        blocks.append(f"WID:{post['bid']}\n{rows}\n")
    data = tmp_path / "data.txt"
    data.write_text("".join(blocks), encoding="utf-8")
    settings = TowersSettings(
        family="towers",
        data=DataSettings(train=(DataFile(path=str(data)),), dev=(DataFile(path=str(data)),)),
        network=NetworkSettings(bigrams=256, ngrams=1024),
        pretraining=PretrainingSettings(steps=6, sentences=4, masked=2),
        loop=TowersLoop(epochs=2, average=0.9),
    )
    longer = msgspec.structs.replace(settings, loop=TowersLoop(epochs=3, average=0.9))
    with Report(quiet=True) as report:
        whole = train(longer, tmp_path / "one", report)
        train(settings, tmp_path / "two", report)
        # Stopped between the two parts, with other settings for the second one: the first is gone on with.
        shutil.rmtree(tmp_path / "two" / "training")
        resumed = train(longer, tmp_path / "two", report, resume=True)
        with pytest.raises(TrainingError, match="another configuration"):
            train(msgspec.structs.replace(longer, char_count_min=3), tmp_path / "two", report, resume=True)
    files = [tmp_path / name / "model" for name in ("one", "two")]
    assert (files[0] / artifact.WEIGHTS).read_bytes() == (files[1] / artifact.WEIGHTS).read_bytes()
    assert whole.scores == resumed.scores
    assert len({path.stat().st_mode for path in files[0].iterdir()}) == 1
    assert load_tagger(files[0]).labels == whole.labels
