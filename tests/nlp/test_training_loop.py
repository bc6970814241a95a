"""The loop: exact resume after SIGKILL, accumulation, averages, schedules, optimizers, early stop."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nlp.training.averaging import Averaged
from nlp.training.checkpoints import CHECKPOINT, HISTORY, Progress, RunFiles
from nlp.training.errors import TrainingError
from nlp.training.loop import Loop, LoopSettings
from nlp.training.optimizers import BertAdam, OptimizerSettings, clip, optimizer_of, share
from nlp.training.report import Report
from tests.nlp.killable import SETTINGS, run

ROOT = Path(__file__).parents[2]


class Stopped(Exception):
    """A run ends here."""


def stop() -> None:
    raise Stopped


def same(whole: Path, broken: Path) -> None:
    """Both folders have the same files; of checkpoints, which also hold times, the same weights."""
    names = sorted(path.name for path in whole.iterdir())
    assert names == sorted(path.name for path in broken.iterdir())
    for name in names:
        if name != CHECKPOINT:
            assert (whole / name).read_bytes() == (broken / name).read_bytes()
    ours, theirs = (RunFiles(folder, "one").load()[1]["module"] for folder in (whole, broken))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing has stopped."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return folder


def test_a_run_that_is_killed_gives_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.nlp.killable", str(tmp_path), "14"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    run(tmp_path, resume=True)
    same(whole, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / HISTORY).read_text(encoding="utf-8").splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]


@pytest.mark.parametrize("every", range(4, 12))
def test_a_run_that_is_stopped_again_and_again_gives_the_same_bytes(whole: Path, tmp_path: Path, every: int) -> None:
    for number in range(12):
        try:
            run(tmp_path, stop_at=every + number % 2, stop=stop, resume=number > 0 and (tmp_path / CHECKPOINT).exists())
        except Stopped:
            continue
    run(tmp_path, resume=True)
    same(whole, tmp_path)


def test_a_run_that_has_ended_gives_the_same_again_when_resumed(tmp_path: Path) -> None:
    first = run(tmp_path)
    again = run(tmp_path, resume=True)
    assert (again.epoch, again.scores, again.history) == (first.epoch, first.scores, first.history)
    assert all(torch.equal(value, again.weights[name]) for name, value in first.weights.items())


def test_a_checkpoint_of_another_configuration_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    run(tmp_path, settings=msgspec.structs.replace(SETTINGS, epochs=1))
    with pytest.raises(TrainingError, match="another configuration"):
        RunFiles(tmp_path, "two").load()
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(TrainingError, match="cannot be read"):
        RunFiles(tmp_path, "one").load()


def test_a_checkpoint_is_written_after_the_history_that_it_goes_on_from(tmp_path: Path) -> None:
    with pytest.raises((AttributeError, pickle.PicklingError)):
        RunFiles(tmp_path, "one").save(Progress(history=[{"epoch": 1}], ended=True), {"broken": lambda: None})
    assert not (tmp_path / CHECKPOINT).exists()
    assert json.loads((tmp_path / HISTORY).read_text(encoding="utf-8")) == {"epoch": 1}


class Held:
    """A task whose dev scores are given, on a batch of one number."""

    def __init__(self, scores: Sequence[float], loss: float = 1.0) -> None:
        self.module = nn.Linear(1, 1)
        self._scores = list(scores)
        self._loss = loss

    def batches(self, epoch: int) -> Sequence[Tensor]:
        return [torch.ones(2, 1) * place for place in range(1, 5)]

    def loss(self, batch: Tensor, chance: np.random.Generator) -> Tensor:
        result: Tensor = (self.module(batch) ** 2).mean() * self._loss
        return result

    def score(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        return {"micro": {"precision": 0.0, "recall": 0.0, "f1": self._scores.pop(0)}}


def fit(task: Held, folder: Path, settings: LoopSettings, optimizing: OptimizerSettings | None = None) -> Any:
    optimizing = optimizing or OptimizerSettings()
    optimizer = optimizer_of(task.module, optimizing, lambda name: False)
    return Loop(task, (optimizer, optimizing), settings, RunFiles(folder, ""), 1).run(Report(quiet=True))


def test_patience_ends_the_run_and_the_best_is_kept(tmp_path: Path) -> None:
    fitted = fit(Held([0.2, 0.5, 0.4, 0.5, 0.9]), tmp_path, LoopSettings(epochs=5, patience=2))
    assert (fitted.epoch, len(fitted.history)) == (2, 4)


def test_accumulated_batches_step_as_one_of_their_mean(tmp_path: Path) -> None:
    torch.manual_seed(1)
    task = Held([0.1])
    start = {name: value.clone() for name, value in task.module.state_dict().items()}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    plain = OptimizerSettings(schedule="constant", warmup=0, clip=0, decay=0)
    together = fit(task, tmp_path / "one", LoopSettings(epochs=1, accumulate=4), plain).weights
    other = nn.Linear(1, 1)
    other.load_state_dict(start)
    optimizer = torch.optim.AdamW(other.parameters(), lr=plain.rate, weight_decay=0)
    loss = torch.stack([(other(torch.ones(2, 1) * place) ** 2).mean() for place in range(1, 5)]).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    for name, value in other.state_dict().items():
        torch.testing.assert_close(together[name], value)


def test_a_loss_that_is_no_number_ends_the_run_with_advice(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"lower optimizer\.rate"):
        fit(Held([0.1], loss=float("nan")), tmp_path, LoopSettings(epochs=1))


def test_half_precision_on_the_cpu_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="CUDA"):
        fit(Held([0.1]), tmp_path, LoopSettings(precision="float16"))


def test_bfloat16_on_the_cpu_trains(tmp_path: Path) -> None:
    task = Held([0.1])
    before = task.module.weight.detach().clone()
    fit(task, tmp_path, LoopSettings(epochs=1, precision="bfloat16"))
    assert not torch.equal(before, task.module.weight)


def test_averages_follow_their_formula_and_leave_frozen_weights_alone() -> None:
    learns, frozen = nn.Linear(1, 1), nn.Linear(1, 1).requires_grad_(False)
    average = Averaged(nn.Sequential(learns, frozen), 0.5)
    expected = learns.weight.item()
    for step in range(1, 6):
        with torch.no_grad():
            learns.weight.fill_(step)
            frozen.weight.fill_(step)
        average.update()
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * step
    assert average.weights()["0.weight"].item() == pytest.approx(expected)
    assert average.weights()["1.weight"].item() == 5


@pytest.mark.parametrize(
    ("name", "expected"),
    [("linear", [1 / 3, 2 / 3, 1, 0.5]), ("cosine", [1 / 3, 2 / 3, 1, 0.5]), ("constant", [1 / 3, 2 / 3, 1, 1])],
)
def test_schedules(name: Any, expected: list[float]) -> None:
    settings = OptimizerSettings(schedule=name, warmup=0.2)
    assert [share(settings, step, 10) for step in (0, 1, 2, 6)] == pytest.approx(expected)


def test_the_schedule_of_bertadam_jumps_as_the_reference_does() -> None:
    settings = OptimizerSettings(schedule="bertadam")
    assert [share(settings, step, 100) for step in (0, 5, 9, 10, 11, 99)] == pytest.approx(
        [0, 0.5, 0.9, 0.9, 0.89, 0.01]
    )


def test_bertadam_follows_its_equations() -> None:
    chance = np.random.default_rng(1)
    value = chance.normal(size=(3, 2))
    parameter = nn.Parameter(torch.tensor(value))
    optimizer = BertAdam([{"params": [parameter], "weight_decay": 0.01}], lr=0.1)
    mean = square = np.zeros_like(value)
    for _ in range(10):
        gradient = chance.normal(size=value.shape)
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        value = value - 0.1 * (mean / (np.sqrt(square) + 1e-6) + 0.01 * value)
    np.testing.assert_allclose(parameter.detach().numpy(), value, rtol=1e-12)


def test_gradients_are_clipped_together_or_each() -> None:
    def gradients(each: bool) -> list[float]:
        parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
        for parameter, gradient in zip(parameters, (3.0, 4.0), strict=True):
            parameter.grad = torch.tensor([gradient])
        clip(parameters, OptimizerSettings(clip=1.0, clip_each=each))
        return [parameter.grad.item() for parameter in parameters if parameter.grad is not None]

    assert gradients(False) == pytest.approx([0.6, 0.8], abs=1e-4)
    assert gradients(True) == pytest.approx([1, 1], abs=1e-4)


@pytest.mark.parametrize("name", ["adamw", "adam", "rmsprop", "bertadam"])
def test_groups_have_their_rates_and_decay_spares_biases_and_norms(name: Any) -> None:
    module = nn.ModuleDict({"bert": nn.Linear(2, 2), "head": nn.Linear(2, 2), "norm": nn.LayerNorm(2)})
    module["head"].weight.requires_grad_(False)
    settings = OptimizerSettings(name=name, rate=0.1, backbone_rate=0.01, decay=0.3)
    optimizer = optimizer_of(module, settings, lambda name: name.startswith("bert."))
    groups = [(group["lr"], group["weight_decay"], len(group["params"])) for group in optimizer.param_groups]
    assert groups == [(0.1, 0.0, 3), (0.01, 0.0, 1), (0.01, 0.3, 1)]
