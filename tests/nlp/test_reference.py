"""Checkpoints with the reference's names: converted by the command, compared with the equations by their raw scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from deploy.cli import app
from nlp.artifact import WEIGHTS
from nlp.models import families
from nlp.reference import own_name, reference_name
from tests.nlp.equations import aca, layers, umt
from tests.nlp.equations.checkpoints import (
    SMALL_ACA,
    SMALL_UMT,
    AcaSizes,
    Arrays,
    UmtSizes,
    aca_shapes,
    drawn,
    tensors,
    umt_shapes,
)

LENGTHS = np.array([9, 5, 1])
OTHER_ACA = AcaSizes(
    words=9, chars=8, word=3, char=4, kernels=(3, 5), filters=2, inner=4, out=3, hidden=6, region=5, labels=6
)
OTHER_UMT = replace(SMALL_UMT, hidden=16, layers=3, inner=8, positions=40, segments=1, region=6, map_layer=False)


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and what was printed."""
    done = CliRunner().invoke(app, ["model", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def converted(folder: Path, weights: Mapping[str, Any], architecture: str, config: Any = None) -> tuple[int, str]:
    """The model in ``folder / "model"`` of a checkpoint."""
    torch.save(weights, folder / "reference.pt")
    given: list[object] = []
    if config is not None:
        (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
        given = ["--config", folder / "config.json"]
    source = folder / "reference.pt"
    return run("convert", "--from", source, "--architecture", architecture, "--to", folder / "model", *given)


def scores(folder: Path, **arrays: NDArray[Any]) -> dict[str, NDArray[Any]]:
    np.savez(folder / "in.npz", **{name: np.asarray(value) for name, value in arrays.items()})  # type: ignore[arg-type]
    given = ["--model", folder / "model", "--input", folder / "in.npz", "--output", folder / "out.npz"]
    code, printed = run("logits", *given)
    assert code == 0, printed
    with np.load(folder / "out.npz") as held:
        return dict(held)


def mask() -> NDArray[np.bool_]:
    return np.arange(LENGTHS.max()) < LENGTHS[:, None]


def aca_arrays(sizes: AcaSizes, seed: int = 0) -> dict[str, NDArray[Any]]:
    chance = np.random.default_rng(seed)
    shape = mask().shape
    return {
        "word_ids": chance.integers(0, sizes.words, shape),
        "char_ids": chance.integers(0, sizes.chars, (*shape, 30)),
        "mask": mask().astype(np.uint8),
        "regions": chance.normal(size=(len(LENGTHS), 49, sizes.region)).astype(np.float32),
    }


def umt_arrays(sizes: UmtSizes, seed: int = 0) -> dict[str, NDArray[Any]]:
    chance = np.random.default_rng(seed)
    return {
        "input_ids": chance.integers(0, sizes.words, mask().shape),
        "attention_mask": mask().astype(np.int64),
        "feature_maps": chance.normal(size=(len(LENGTHS), sizes.region, 7, 7)).astype(np.float32),
    }


def check(found: dict[str, NDArray[Any]], expected: NDArray[np.float64], weights: Arrays) -> None:
    """Scores, and the best paths under the CRF as it is."""
    assert found["logits"].dtype == np.float32
    assert found["tags"].dtype == np.int64
    assert found["logits"] == pytest.approx(expected, abs=1e-5)
    for length, tags, emissions in zip(LENGTHS, found["tags"], expected, strict=True):
        assert tags[:length].tolist() == layers.best_path(weights, "crf", emissions[:length])
        assert (tags[length:] == -1).all()


# --- scores of converted checkpoints ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [SMALL_ACA, OTHER_ACA])
def test_aca_of_any_size_gives_the_scores_of_the_equations(sizes: AcaSizes, tmp_path: Path) -> None:
    weights = drawn(aca_shapes(sizes), 1)
    code, printed = converted(tmp_path, tensors(weights), "aca")
    assert code == 0, printed
    arrays = aca_arrays(sizes)
    rows = zip(arrays["word_ids"], arrays["char_ids"], arrays["regions"].astype(np.float64), strict=True)
    check(scores(tmp_path, **arrays), np.stack([aca.stages(weights, *row)["logits"] for row in rows]), weights)


@pytest.mark.parametrize(
    ("sizes", "config"),
    [
        (SMALL_UMT, {"n_heads": 3}),
        (SMALL_UMT, {"n_heads": 4, "region_layout": "reference", "map_layer": True}),
        (SMALL_UMT, {"n_heads": 2, "map_layer": False}),
        (OTHER_UMT, {"n_heads": 4, "region_layout": "correct"}),
        (replace(OTHER_UMT, hidden=128, layers=1), None),
    ],
)
def test_umt_of_any_size_gives_the_scores_of_the_equations(sizes: UmtSizes, config: Any, tmp_path: Path) -> None:
    weights = drawn(umt_shapes(sizes), 1)
    code, printed = converted(tmp_path, tensors(weights), "umt", config)
    assert code == 0, printed
    assert "bert.pooler.dense.weight" in printed
    arrays, options = umt_arrays(sizes), config or {}
    used = {name: value for name, value in weights.items() if options.get("map_layer", True) or "map." not in name}
    expected = []
    for words, shown, feature_map in zip(arrays["input_ids"], mask(), arrays["feature_maps"], strict=True):
        seen = feature_map.astype(np.float64)
        seen = umt.scrambled(seen) if options.get("region_layout") == "reference" else seen
        expected.append(umt.stages(used, options.get("n_heads", 2), words, shown, seen)["logits"])
    check(scores(tmp_path, **arrays), np.stack(expected), weights)


@torch.no_grad()
def test_labels_may_be_others_than_those_of_the_reference(tmp_path: Path) -> None:
    sizes = replace(SMALL_UMT, labels=5, spans=3)
    weights = drawn(umt_shapes(sizes), 2)
    code, printed = converted(tmp_path, tensors(weights), "umt", {"n_heads": 3})
    assert code == 1
    assert "labels: which of the 5 labels belongs to which of the 3" in printed
    names = ["O", "B-A", "B-B", "I-B", "I-A"]
    code, printed = converted(tmp_path, tensors(weights), "umt", {"n_heads": 3, "labels": names})
    assert code == 0, printed
    model, labels = families.load_model(tmp_path / "model")
    assert labels == tuple(names)
    assert model.conversion.tolist() == [[1, 0, 0, 0, 0], [0, 0.5, 0.5, 0, 0], [0, 0, 0, 0.5, 0.5]]  # type: ignore[operator]
    assert converted(tmp_path, tensors(weights), "umt", {"n_heads": 3, "labels": names[:3]})[0] == 1
    two_types = replace(SMALL_UMT, labels=9)
    assert converted(tmp_path, tensors(drawn(umt_shapes(two_types), 2)), "umt", {"n_heads": 3})[0] == 0
    assert families.load_model(tmp_path / "model")[1][1:4] == ("O", "B-TYPE1", "I-TYPE1")


# --- what checkpoints may look like ----------------------------------------------------------------------------------


def test_wrapped_checkpoints_and_those_with_a_picture_network_are_read(tmp_path: Path) -> None:
    weights = tensors(drawn(umt_shapes(SMALL_UMT), 3))
    network = {
        "encoder.resnet.conv1.weight": torch.zeros(2, 3, 7, 7),
        "encoder.resnet.layer1.0.bn2.running_var": torch.ones(2),
        "resnet.layer4.2.downsample.1.num_batches_tracked": torch.tensor(3),
    }
    position_ids = {"bert.embeddings.position_ids": torch.arange(16).unsqueeze(0)}
    parallel = {f"module.{name}": value for name, value in {**weights, **network, **position_ids}.items()}
    code, printed = converted(tmp_path, {"state_dict": parallel}, "umt", {"n_heads": 3})
    assert code == 0, printed
    for name in [*network, *position_ids]:
        assert name in printed
    first = families.load_model(tmp_path / "model")[0].state_dict()
    save_file(weights, tmp_path / "reference.safetensors")
    given = ["--from", tmp_path / "reference.safetensors", "--architecture", "umt", "--to", tmp_path / "model"]
    code, printed = run("convert", *given, "--config", tmp_path / "config.json", "--json")
    told = json.loads(printed)
    assert told["settings"]["heads"] == 3
    assert told["left_out"] == ["bert.pooler.dense.bias", "bert.pooler.dense.weight"]
    second = families.load_model(tmp_path / "model")[0].state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def without(name: str) -> dict[str, Tensor]:
    found = tensors(drawn(umt_shapes(SMALL_UMT), 3))
    del found[name]
    return found


def beside(name: str, value: Tensor) -> dict[str, Tensor]:
    return {**tensors(drawn(umt_shapes(SMALL_UMT), 3)), name: value}


@pytest.mark.parametrize(
    ("weights", "config", "why"),
    [
        (without("gate.bias"), {"n_heads": 3}, "umt misses gate.bias"),
        (without("vismap2text.weight"), {"n_heads": 3}, "vismap2text.weight is missing; is this a checkpoint of umt?"),
        (beside("adapter.weight", torch.zeros(1)), {"n_heads": 3}, "umt does not know adapter.weight"),
        (beside("gate.bias", torch.zeros(5)), {"n_heads": 3}, "gate.bias is 5, expected 12"),
        (without("map.bias"), {"n_heads": 3}, "umt misses map.bias"),
        (without("bert.pooler.dense.bias"), {}, "n_heads: the shapes do not tell how many heads share a width of 12"),
        (without("bert.pooler.dense.bias"), {"n_heads": 5}, "heads: 5 do not divide the width"),
        (without("bert.pooler.dense.bias"), {"heads": 3}, "unknown field `heads`; expected a JSON object of n_heads"),
        (without("bert.pooler.dense.bias"), {"n_heads": 3, "region_layout": "odd"}, "region_layout"),
        (without("bert.pooler.dense.bias"), "{", "Input data was truncated"),
        ({"weights": [1, 2]}, {"n_heads": 3}, "expected tensors by name"),
    ],
)
def test_what_does_not_fit_is_named(weights: Any, config: Any, why: str, tmp_path: Path) -> None:
    code, printed = converted(tmp_path, weights, "umt", config)
    assert code == 1
    assert why in printed.replace("\n", " ")
    assert not (tmp_path / "model" / "config.json").exists()


def test_a_map_layer_that_is_not_there_cannot_be_used(tmp_path: Path) -> None:
    weights = tensors(drawn(umt_shapes(OTHER_UMT), 3))
    code, printed = converted(tmp_path, weights, "umt", {"n_heads": 4, "map_layer": True})
    assert code == 1
    assert "umt misses map.weight, map.bias" in printed


def test_other_architectures_and_missing_files_say_what_to_do(tmp_path: Path) -> None:
    code, printed = run("convert", "--from", tmp_path / "no.pt", "--architecture", "acn", "--to", tmp_path / "model")
    assert (code, "expected aca or umt" in printed) == (2, True)
    code, printed = run("convert", "--from", tmp_path / "no.pt", "--architecture", "aca", "--to", tmp_path / "model")
    assert (code, "cannot be read" in printed) == (1, True)


@pytest.mark.parametrize(("architecture", "shapes"), [("aca", aca_shapes(AcaSizes())), ("umt", umt_shapes(SMALL_UMT))])
def test_names_go_both_ways(architecture: Any, shapes: dict[str, Any]) -> None:
    for name in shapes:
        if not name.startswith("bert.pooler"):
            assert reference_name(own_name(name, architecture) or "", architecture) == name
    assert own_name("bert.encoder.layer.0.crossattention.self.query.weight", architecture) is None


def test_weights_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    (tmp_path / "model" / WEIGHTS).mkdir(parents=True)
    code, printed = converted(tmp_path, tensors(drawn(aca_shapes(SMALL_ACA), 1)), "aca")
    assert code == 1
    assert f"{WEIGHTS}: cannot be written" in printed.replace("\n", "")


# --- raw scores ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_aca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aca")
    assert converted(folder, tensors(drawn(aca_shapes(SMALL_ACA), 1)), "aca")[0] == 0
    return folder


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"mask": None}, "mask is missing; there are char_ids, regions, word_ids"),
        ({"word_ids": np.ones((3, 9))}, "word_ids is float64 (3, 9), expected 2 sizes of integer"),
        ({"word_ids": np.full((3, 9), 99)}, "an id is beyond the vocabulary"),
        ({"word_ids": np.full((3, 9), -1)}, "an id is beyond the vocabulary"),
        ({"char_ids": np.ones((3, 8, 30), dtype=int)}, "char_ids is (3, 8, 30)"),
        ({"mask": np.ones((3, 8))}, "mask is (3, 8), word_ids (3, 9)"),
        ({"mask": np.eye(3, 9)}, "padding behind the tokens only"),
        ({"regions": np.ones((2, 49, 9))}, "2 pictures for 3 posts"),
        ({"regions": np.ones((3, 49, 8))}, "regions have 8 numbers, the model reads 9"),
        ({"regions": np.ones((3, 0, 9))}, "at least one region of each picture"),
        ({"regions": np.full((3, 49, 9), np.nan)}, "and finite numbers"),
        ({"word_ids": np.ones((0, 9), dtype=int), "mask": np.ones((0, 9))}, "word_ids is empty"),
    ],
)
def test_arrays_that_do_not_fit_are_named(changes: dict[str, Any], why: str, small_aca: Path, tmp_path: Path) -> None:
    arrays = {name: value for name, value in {**aca_arrays(SMALL_ACA), **changes}.items() if value is not None}
    np.savez(tmp_path / "in.npz", **arrays)
    given = ["--model", small_aca / "model", "--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz"]
    code, printed = run("logits", *given)
    assert code == 1
    assert why in printed.replace("\n", " ")
    assert not (tmp_path / "out.npz").exists()


def test_files_that_cannot_be_used_are_named(small_aca: Path, tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    np.save(tmp_path / "one.npy", np.ones(3))
    torch.manual_seed(0)
    families.save_model(tmp_path, families.build("bilstm", {"tokens": 5}, ["O"]), "bilstm", ["O"])
    np.savez(tmp_path / "in.npz", mask=np.ones(1))
    output = ["--output", tmp_path / "out.npz"]
    for model, source, why in (
        (small_aca / "model", "text.npz", "no readable .npz file"),
        (small_aca / "model", "one.npy", "expected an .npz file with named arrays"),
        (small_aca / "model", "none.npz", "cannot be read"),
        (tmp_path / "nowhere", "in.npz", "holds no model"),
        (tmp_path, "in.npz", "is neither aca nor umt"),
    ):
        code, printed = run("logits", "--model", model, "--input", tmp_path / source, *output)
        assert (code, why in printed.replace("\n", " ")) == (1, True), printed


def test_a_model_that_gives_no_numbers_is_told(tmp_path: Path) -> None:
    weights = tensors(drawn(aca_shapes(SMALL_ACA), 1))
    weights[next(name for name in weights if name.endswith("bias"))].fill_(torch.nan)
    assert converted(tmp_path, weights, "aca")[0] == 0
    np.savez(tmp_path / "in.npz", **aca_arrays(SMALL_ACA))  # type: ignore[arg-type]
    given = ["--model", tmp_path / "model", "--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz"]
    code, printed = run("logits", *given)
    assert (code, "are its weights whole?" in printed.replace("\n", " ")) == (1, True)
    assert not (tmp_path / "out.npz").exists()


def test_many_posts_give_the_scores_of_each(small_aca: Path) -> None:
    few = scores(small_aca, **aca_arrays(SMALL_ACA))
    many = scores(small_aca, **{name: np.concatenate([value] * 13) for name, value in aca_arrays(SMALL_ACA).items()})
    assert many["logits"] == pytest.approx(np.concatenate([few["logits"]] * 13), abs=1e-5)
    assert (many["tags"] == np.concatenate([few["tags"]] * 13)).all()
