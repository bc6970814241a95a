"""The only place that knows ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from nlp.encode import Features


class OnnxNetwork:
    """Emissions by ONNX Runtime on the CPU, ``threads`` batches at a time.

    Each batch has one thread: a batch split over all cores waits for the slowest of them, and one of them is often
    busy with the rest of the pipeline.
    """

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._lanes = ThreadPoolExecutor(threads, thread_name_prefix="onnx")

    def emissions(self, batches: Sequence[Features]) -> list[NDArray[np.float32]]:
        """(B, T, K) float32 of each batch. The largest go first, so that no thread is left with one at the end."""
        order = sorted(range(len(batches)), key=lambda number: -batches[number].chars.size)
        found = dict(zip(order, self._lanes.map(self._one, [batches[number] for number in order]), strict=True))
        return [found[number] for number in range(len(batches))]

    def _one(self, features: Features) -> NDArray[np.float32]:
        return np.asarray(self._session.run(["emissions"], features.inputs())[0], dtype=np.float32)
