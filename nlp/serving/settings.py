"""Settings of the tagger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from stream.contract.signals import TaggerProblem

Switch = Literal["auto", "on", "off"]
Count = Callable[[TaggerProblem], None]
"""Is told of what a tagger had to work around."""


class TaggerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which models tag, and how. All but the first three are for the torch models.

    - ``model``: model folder; empty is the one that ships. ``english_model``: folder of the model for English posts.
    - ``threads``: CPU threads.
    - ``device``: ``auto`` is CUDA where there is a device.
    - ``precision``: of CUDA; ``auto`` is bfloat16 where the device has it. The CPU computes in float32.
    - ``compile``: whether CUDA models go through ``torch.compile``; ``auto`` is off, see docs/serving.md.
    - ``batch_tokens_max``: tokens of a batch, padding and regions of pictures included; 0 is 4,096 on the CPU, 32,768
      on CUDA. ``batch_pictures_max``: pictures that go through the backbone at once. Both are halved where memory
      runs out.
    - ``cache_mb``: memory for the regions of pictures that were seen lately.
    - ``decode_on_device``: whether JPEGs are decoded and scaled by torchvision on the device; ``auto``: on CUDA.
    - ``image_provenance``: whether posts with pictures are tagged without them as well, to know what only these gave.
    """

    model: str = ""
    english_model: str = ""
    threads: int = 2
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: Switch = "auto"
    batch_tokens_max: int = 0
    batch_pictures_max: int = 32
    cache_mb: int = 256
    decode_on_device: Switch = "auto"
    image_provenance: bool = True

    def __post_init__(self) -> None:
        for name, least, most in (
            ("threads", 1, 1024),
            ("batch_tokens_max", 0, 1 << 20),
            ("batch_pictures_max", 1, 4096),
            ("cache_mb", 0, 1 << 20),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"tagger.{name} must be from {least} to {most}")
