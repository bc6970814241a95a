"""From trained weights to the files that run: safetensors and ONNX; and the network on torch, to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from nlp import artifact
from nlp.backbones import write_weights
from nlp.encode import Encoder, Features
from nlp.models.text import TextConfig, TextTagger
from nlp.tagger import NeuralTagger, read_lexicon

WHOLE_BYTES_MAX: Final = 64
"""Smaller tensors, which need not be weights, are left as they are."""


class TorchNetwork:
    """Emissions by torch on the CPU."""

    def __init__(self, network: TextTagger) -> None:
        self._network = network.eval()

    @torch.no_grad()
    def emissions(self, batches: Sequence[Features]) -> list[NDArray[np.float32]]:
        """(B, T, K) float32 of each batch."""
        return [
            self._network(**{name: torch.from_numpy(value) for name, value in features.inputs().items()}).numpy()
            for features in batches
        ]


def network_of(config: TextConfig, weights: dict[str, torch.Tensor]) -> TorchNetwork:
    """The network with the ``network.`` part of ``weights``."""
    network = TextTagger(config)
    prefix = "network."
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    network.load_state_dict(own)
    return TorchNetwork(network)


def export(folder: Path, config: TextConfig, weights: dict[str, torch.Tensor], encoder: Encoder) -> None:
    """Write ``model.safetensors`` and ``model.onnx``, both in half precision, which must lose nothing.

    Batch and length of the ONNX graph stay free.
    """
    network = network_of(config, weights)._network
    example = encoder.encode(["周杰伦在上海", "上海"])
    inputs = {name: torch.from_numpy(value) for name, value in example.inputs().items()}
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    shapes = {name: {0: batch, 1: length} for name in inputs}
    program = torch.onnx.export(
        network, (), kwargs=inputs, dynamo=True, dynamic_shapes=shapes, output_names=["emissions"], verbose=False
    )
    assert program is not None
    onnx.save(halved(program.model_proto), folder / artifact.ONNX)
    halves = {name: value.half() for name, value in weights.items()}
    write_weights(folder / artifact.WEIGHTS, halves, folder / artifact.ONNX)


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with its weights kept in half precision and cast back when it is loaded; half the file."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.raw_data) > WHOLE_BYTES_MAX:
            name, short = tensor.name, f"{tensor.name}_half"
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), short))
            casts.append(onnx.helper.make_node("Cast", [short], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def load_torch_tagger(folder: Path) -> NeuralTagger:
    """The tagger in a model folder on torch; the same answers as ONNX Runtime gives."""
    config, card = artifact.load(folder)
    weights = {name: value.float() for name, value in load_file(folder / artifact.WEIGHTS).items()}
    network = network_of(msgspec.convert(config.network, TextConfig), weights)
    return NeuralTagger(config, card, read_lexicon(folder), network)
