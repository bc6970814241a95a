"""Taggers behind the port: what batches gain over one post at a time, what pictures cost, and how busy a GPU is.

``python -m benchmarks.serving`` measures on the CPU, then on CUDA where there is a device. ``--peak-tflops`` gives the
dense bfloat16 peak of a chip that the table does not know. All weights are random: they do not change the time.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from deploy.telemetry import Telemetry
from nlp import artifact
from nlp.backbones import PictureBackbone, TextBackbone, picture_encoder, text_encoder
from nlp.evaluate import NamedTagger
from nlp.labels import bio_labels
from nlp.models import families
from nlp.models.base import Tagging
from nlp.serving.devices import device_for
from nlp.serving.settings import TaggerSettings
from nlp.serving.torch_tagger import TorchTagger
from nlp.tagger import load_tagger
from nlp.training.card import ModelCard
from nlp.training.coder import TokenCoder, TokenCoding, vocabulary_of
from nlp.training.pictures import PictureInput
from nlp.training.trained import Trained
from stream.contract.ports import TagInput, tagged
from stream.contract.records import Picture
from stream.runtime.tagging import TagQueue, groups
from tests.corpus import demo_posts

BATCH = 64
ROUNDS = 5
POSTS = 256
PEAKS_TFLOPS = {
    "H100": 989.0, "H200": 989.0, "A100": 312.0, "A10": 125.0, "L40S": 362.0, "L4": 121.0, "RTX 4090": 165.0,
}  # fmt: skip
"""Dense bfloat16 peak by the maker's data sheets, for the first name that stands in the device's."""

Made = Callable[[TaggerSettings], NamedTagger]


def main(words: Sequence[str] = ()) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Benchmark of the taggers behind the port.")
    parser.add_argument("--peak-tflops", type=float, help="dense bfloat16 peak of the GPU, in TFLOP/s")
    chosen = parser.parse_args(words)
    torch.manual_seed(0)
    on_cpu()
    if torch.cuda.is_available():
        on_cuda(chosen.peak_tflops, Shape())
    else:
        print("GPU part not run: no CUDA device")


# --- CPU ---------------------------------------------------------------------------------------------------------


def on_cpu() -> None:
    """Batches against one post at a time, in one run; then what the second reading of posts with pictures costs."""
    texts = [TagInput(post["text"]) for post in demo_posts(pictures=False)[:POSTS]]
    shown = with_pictures(texts, 1)
    cold = TaggerSettings(device="cpu", cache_mb=0)
    print("CPU                                    in batches   one by one      ratio")
    compare("default model (ONNX), text", load_tagger(), texts)
    compare("bilstm, text", small("bilstm", cold), texts)
    compare("fusion, text", small("fusion", cold), texts)
    compare("fusion, 1 picture, none kept", small("fusion", cold), shown)
    kept = msgspec.structs.replace(cold, cache_mb=256)
    compare("fusion, 1 picture, kept", small("fusion", kept), shown)
    cost = provenance_cost(kept, shown)
    print(f"image provenance costs a fusion {cost:.0%} of its speed on posts with a picture, kept")


def provenance_cost(settings: TaggerSettings, posts: Sequence[TagInput]) -> float:
    """Which share of a fusion's speed goes into the second reading, measured in turn."""
    taggers = [small("fusion", msgspec.structs.replace(settings, image_provenance=on)) for on in (True, False)]
    rates = [[rate(tagger, posts, BATCH) for tagger in taggers] for _ in range(1 + ROUNDS)]
    return 1 - statistics.median(twice / once for twice, once in rates[1:])


def compare(name: str, tagger: NamedTagger, posts: Sequence[TagInput]) -> None:
    """One line: medians of rounds in turn, so that what else the machine does falls on both."""
    rate(tagger, posts, BATCH)
    rounds = [(rate(tagger, posts, BATCH), rate(tagger, posts, 1)) for _ in range(ROUNDS)]
    batched, single = (statistics.median(row[place] for row in rounds) for place in (0, 1))
    ratio = statistics.median(row[0] / row[1] for row in rounds)
    print(f"{name:36}  {batched:9.0f}/s  {single:10.0f}/s  {ratio:8.2f}")


def rate(tagger: NamedTagger, posts: Sequence[TagInput], size: int) -> float:
    """Posts per second of all three steps."""
    started = time.perf_counter()
    for start in range(0, len(posts), size):
        tagged(tagger, posts[start : start + size])
    return len(posts) / (time.perf_counter() - started)


def small(family: str, settings: TaggerSettings) -> TorchTagger:
    """A model of the size that is trained from scratch here; pictures through a network of the rendered sets' size."""
    texts = [post["text"] for post in demo_posts(pictures=False)]
    coding = TokenCoding()
    coder = TokenCoder(coding, vocabulary_of(texts, coding))
    model = families.build(
        family,
        {"tokens": coder.sizes[0]},
        LABELS,
        None,
        picture_encoder(PictureBackbone(config={"architecture": "small"})) if family == "fusion" else None,
    )
    return tagger_of(family, model, coder, PictureInput() if family == "fusion" else None, settings)


LABELS = bio_labels(f"B-{type_}" for type_ in ("PER", "LOC", "ORG", "MISC"))


def tagger_of(
    family: str, model: Tagging, coder: TokenCoder, pictures: PictureInput | None, settings: TaggerSettings
) -> TorchTagger:
    device = device_for(settings)
    card = ModelCard(
        name=family, family=family, data={}, seed=0, settings={}, labels=LABELS, scores={}, calibration=None, epochs=0,
        minutes=0, device="", pictures={}, limits=(), versions={}, files={artifact.WEIGHTS: "0" * 64},
    )  # fmt: skip
    trained = Trained(
        family=family, labels=LABELS, model=model.to(device.torch).eval(), coder=coder, pictures=pictures,
        names=frozenset(), card=card,
    )  # fmt: skip
    return TorchTagger(trained, device, settings, lambda problem: None)


def with_pictures(posts: Sequence[TagInput], count: int) -> list[TagInput]:
    """``posts``, each with ``count`` pictures of its own, of the size that records carry."""
    chance = np.random.default_rng(0)

    def picture(number: int) -> Picture:
        coarse = Image.fromarray(chance.integers(0, 256, (32, 40, 3), dtype=np.uint8))
        data = io.BytesIO()
        coarse.resize((320, 256), Image.Resampling.BICUBIC).save(data, "JPEG", quality=80)
        return Picture(id=str(number), jpeg=data.getvalue())

    return [TagInput(post.text, tuple(picture(number) for number in range(count))) for post in posts]


# --- CUDA --------------------------------------------------------------------------------------------------------


class Shape(msgspec.Struct, frozen=True):
    """What is measured: UMT over BERT-base and ResNet-152, texts of ``tokens``, ``posts`` of them."""

    tokens: int = 128
    posts: int = 1024
    hidden: int = 768
    layers: int = 12
    heads: int = 12
    network: str = "resnet152"
    picture_batch: int = 128


def on_cuda(peak_tflops: float | None, shape: Shape) -> None:
    """UMT at BERT-base size with 1 and 4 pictures: against its bare backbones, and against the chip."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    peak = peak_tflops or next((value for known, value in PEAKS_TFLOPS.items() if known in name), None)
    print(f"\n{name}, bfloat16 peak {'unknown: give --peak-tflops' if peak is None else f'{peak:g} TFLOP/s'}")
    print("UMT, texts of 128 tokens   infer    bare backbones   ratio (goal 0.6)   all steps   of peak")
    for pictures in (1, 4):
        posts = with_pictures([TagInput("上" * (shape.tokens - 2))] * shape.posts, pictures)
        infer, flops = inferring(umt(shape, provenance=False), posts)
        bare = backbones(shape, pictures)
        whole = asyncio.run(piped(umt(shape, provenance=False), posts))
        share = "      ?" if peak is None else f"{flops * infer / (peak * 1e12):7.1%}"
        print(
            f"{pictures} pictures          {infer:10.0f}/s {bare:14.0f}/s {infer / bare:12.2f} {whole:16.0f}/s {share}"
        )
        twice, _ = inferring(umt(shape, provenance=True), posts)
        print(f"  with image provenance {twice:6.0f}/s")


def umt(shape: Shape, *, provenance: bool) -> TorchTagger:
    """A UMT with random weights; no picture is kept, so that each is encoded."""
    settings = TaggerSettings(cache_mb=0, batch_pictures_max=shape.picture_batch, image_provenance=provenance)
    coding = TokenCoding()
    coder = TokenCoder(coding, vocabulary_of([post["text"] for post in demo_posts(pictures=False)], coding))
    encoder = picture_encoder(PictureBackbone(config={"architecture": shape.network}))
    sizes = {"tokens": coder.sizes[0], "hidden": shape.hidden, "layers": shape.layers, "heads": shape.heads}
    model = families.build("umt", sizes, LABELS, None, encoder)
    return tagger_of("umt", model, coder, PictureInput(), settings)


def inferring(tagger: TorchTagger, posts: Sequence[TagInput]) -> tuple[float, float]:
    """(posts per second, floating-point operations per post) of the device's step."""
    groups_ = [tagger.prepare(group) for group in groups(posts)]
    with FlopCounterMode(display=False) as counter:
        tagger.infer(groups_[0])
    flops = counter.get_total_flops() / len(groups_[0].seen)

    def work() -> None:
        for prepared in groups_:
            tagger.infer(prepared)

    return len(posts) / seconds(work), flops


def backbones(shape: Shape, pictures: int) -> float:
    """Posts per second of BERT and ResNet alone, forward, on tensors that lie on the device, at the same shapes."""
    device = device_for(TaggerSettings())
    sizes = {
        "model_type": "bert", "hidden_size": shape.hidden, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "intermediate_size": 4 * shape.hidden,
    }  # fmt: skip
    text = text_encoder(TextBackbone(config=sizes)).to(device.torch).eval()
    seen = picture_encoder(PictureBackbone(config={"architecture": shape.network})).to(device.torch).eval()
    posts = max(1, shape.picture_batch // pictures)
    ids = torch.ones(posts, shape.tokens, dtype=torch.int64, device=device.torch)
    pixels = torch.randn(posts * pictures, 3, 224, 224, device=device.torch)

    @torch.inference_mode()
    def work() -> None:
        for _ in range(shape.posts // posts):
            with device.precision():
                text(ids, ids.bool())
                seen(pixels)

    return shape.posts // posts * posts / seconds(work)


def seconds(work: Callable[[], None]) -> float:
    """How long ``work`` takes, the device's share included, the best of some rounds after one to warm up."""
    found = []
    for _ in range(1 + ROUNDS):
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return min(found[1:])


async def piped(tagger: TorchTagger, posts: Sequence[TagInput]) -> float:
    """Posts per second of all steps, overlapping as in a worker."""
    queue = TagQueue(Telemetry())
    parts = list(groups(posts))
    try:
        await queue.tag(tagger, parts[0])
        started = time.perf_counter()
        await asyncio.gather(*(queue.tag(tagger, part) for part in parts))
        return len(posts) / (time.perf_counter() - started)
    finally:
        await asyncio.to_thread(queue.close)


if __name__ == "__main__":
    main(sys.argv[1:])
