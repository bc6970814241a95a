"""The only place that knows ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from nlp.encode import Features


class OnnxNetwork:
    """Emissions by ONNX Runtime on the CPU with ``threads`` threads."""

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def emissions(self, features: Features) -> NDArray[np.float32]:
        """(B, T, K) float32."""
        return np.asarray(self._session.run(["emissions"], features.inputs())[0], dtype=np.float32)
