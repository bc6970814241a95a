"""The same training without its pictures, or with its pictures alone: the rows of an ablation of one's own model."""

from __future__ import annotations

from typing import Any

import msgspec

from nlp.backbones import TextBackbone
from nlp.models.aca import AcaSettings
from nlp.models.families import model_type
from nlp.models.umt import UmtSettings
from nlp.training.coder import PieceCoding
from nlp.training.config import TrainSettings


def text_alone(given: TrainSettings) -> TrainSettings:
    """``given`` without the branch for pictures: what reads the text, a linear layer, CRF.

    Raises ``ValueError`` where it sees no pictures, or nothing else.
    """
    if given.family == "image" or not model_type(given.family).sees_pictures:
        raise ValueError(f"family {given.family} is not multimodal; expected aca, umt or fusion")
    family, model, text = "bilstm", dict[str, Any](), given.text
    if given.family == "umt" and text is None:
        text = _fresh(msgspec.convert(given.model, UmtSettings))
    if given.family == "aca":
        sizes = msgspec.convert({"tokens": 1, "chars": 1, **given.model}, AcaSettings)
        model = {"reader": {"token_size": sizes.token_size, "hidden": sizes.hidden}}
    elif text is not None:
        family, model = "transformer", {name: given.model[name] for name in ("dropout",) if name in given.model}
    elif "reader" in given.model:
        model = {"reader": given.model["reader"]}
    return msgspec.structs.replace(given, family=family, model=model, text=text, picture=None, labels="")


def _fresh(sizes: UmtSettings) -> TextBackbone:
    """The layers that UMT reads texts with where it has no pretrained ones."""
    return TextBackbone(
        config={
            "model_type": "bert",
            "hidden_size": sizes.hidden,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "intermediate_size": sizes.inner or 4 * sizes.hidden,
            "max_position_embeddings": sizes.positions,
        }
    )


def image_alone(given: TrainSettings) -> TrainSettings:
    """``given`` with the pictures and the places of tokens alone."""
    tokenizer = given.tokenizer
    if isinstance(given.coder, PieceCoding) and given.text:
        tokenizer = tokenizer or given.text.folder or given.text.name
    return msgspec.structs.replace(
        given, family="image", model={}, text=None, vectors=None, tokenizer=tokenizer, labels="", init_from=""
    )
