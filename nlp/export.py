"""From trained weights to the files that run: safetensors and ONNX; and the network on torch, to compare with."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from nlp import artifact
from nlp.encode import Encoder, Features
from nlp.models.text import TextConfig, TextTagger
from nlp.tagger import NeuralTagger


class TorchNetwork:
    """Emissions by torch on the CPU."""

    def __init__(self, network: TextTagger) -> None:
        self._network = network.eval()

    @torch.no_grad()
    def emissions(self, features: Features) -> NDArray[np.float32]:
        """(B, T, K) float32."""
        inputs = {name: torch.from_numpy(value) for name, value in features.inputs().items()}
        found: NDArray[np.float32] = self._network(**inputs).numpy()
        return found


def network_of(config: TextConfig, weights: dict[str, torch.Tensor]) -> TorchNetwork:
    """The network with the ``network.`` part of ``weights``."""
    network = TextTagger(config)
    prefix = "network."
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    network.load_state_dict(own)
    return TorchNetwork(network)


def export(folder: Path, config: TextConfig, weights: dict[str, torch.Tensor], encoder: Encoder) -> None:
    """Write ``model.safetensors`` (in half precision, which must lose nothing) and ``model.onnx``.

    Batch and length of the ONNX graph stay free.
    """
    save_file({name: value.half().contiguous() for name, value in weights.items()}, folder / artifact.WEIGHTS)
    network = network_of(config, weights)._network
    example = encoder.encode(["周杰伦在上海", "上海"])
    inputs = {name: torch.from_numpy(value) for name, value in example.inputs().items()}
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    shapes = {name: {0: batch, 1: length} for name in inputs}
    program = torch.onnx.export(
        network, (), kwargs=inputs, dynamo=True, dynamic_shapes=shapes, output_names=["emissions"], verbose=False
    )
    assert program is not None
    program.save(str(folder / artifact.ONNX), external_data=False)


def load_torch_tagger(folder: Path) -> NeuralTagger:
    """The tagger in a model folder on torch; the same answers as ONNX Runtime gives."""
    config, card = artifact.load(folder)
    weights = {name: value.float() for name, value in load_file(folder / artifact.WEIGHTS).items()}
    network = network_of(msgspec.convert(config.network, TextConfig), weights)
    return NeuralTagger(folder, config, card, network)
