"""Pretrained encoders of texts (transformers) and of pictures (torchvision), and small fresh ones.

Shapes: B texts of S tokens, H width of a text encoder; N pictures of R regions, D width of a region. Nothing is fetched
from the network unless ``download`` says so. Weights in files are read as tensors, never as code.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final, Literal

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nlp.picture_networks import Parts, parts
from nlp.pictures import Preprocess

Train = Literal["frozen", "all"] | int
"""What is trained of an encoder: nothing, everything, or its last n layers (at least 1)."""

CONFIG: Final = "encoder.json"
WEIGHTS: Final = "encoder.safetensors"
POSITIONS_MAX: Final = 8192
"""Of an encoder that has no table of positions."""


class BackboneError(ValueError):
    """An encoder cannot be had; the message says why and what to do."""


class TextBackbone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which text encoder: one of ``name`` (of the Hugging Face hub), ``folder`` (``save_pretrained``), ``config``.

    ``config`` holds ``model_type`` and sizes as transformers names them; such a network starts at random, or with
    ``weights`` (.safetensors, .pt).
    """

    name: str = ""
    folder: str = ""
    weights: str = ""
    config: dict[str, Any] = {}
    train: Train = "all"
    download: bool = False

    def __post_init__(self) -> None:
        _one_source(self.name, self.folder, self.weights, self.config)


class PictureBackbone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which picture encoder: one of ``name`` (of torchvision), ``folder`` (``PictureEncoder.save``), ``config``.

    ``config`` holds ``architecture`` (a name of torchvision, or ``small``) and its sizes; such a network starts at
    random, or with ``weights`` (.safetensors, .pt). Convolutional networks give ``grid`` × ``grid`` regions.
    ``release`` is the public weights' name.
    """

    name: str = ""
    folder: str = ""
    weights: str = ""
    config: dict[str, Any] = {}
    train: Train = "frozen"
    download: bool = False
    release: str = "IMAGENET1K_V1"
    grid: int = 7
    preprocess: Preprocess = Preprocess()

    def __post_init__(self) -> None:
        _one_source(self.name, self.folder, self.weights, self.config)


def _one_source(name: str, folder: str, weights: str, config: dict[str, Any]) -> None:
    if sum(map(bool, (name, folder, config))) != 1:
        raise ValueError("a backbone needs one of name, folder and config")
    if weights and not config:
        raise ValueError("weights need a config that says which network they are for")


class PartlyTrained(nn.Module):
    """A network of which only the last layers may be trained.

    The rest gets no gradients and stays in evaluation mode: no dropout, and BatchNorm's statistics do not move.
    """

    def __init__(self) -> None:
        super().__init__()
        self._trained: Sequence[nn.Module] | None = None

    def freeze(self, layers: Sequence[nn.Module], train: Train) -> None:
        """Freeze what ``train`` does not name. Raises ``BackboneError`` where there are not so many ``layers``."""
        if train == "all":
            return
        if train != "frozen" and not 1 <= train <= len(layers):
            raise BackboneError(f'train: {train}: expected "frozen", "all", or from 1 to {len(layers)} layers')
        self._trained = () if train == "frozen" else tuple(layers[-train:])
        self.requires_grad_(False)
        for layer in self._trained:
            layer.requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> PartlyTrained:
        super().train(mode and self._trained is None)
        for layer in self._trained or ():
            layer.train(mode)
        return self

    @property
    def frozen(self) -> bool:
        """Whether nothing at all is trained, so that what it gives for an input can be kept."""
        return not any(parameter.requires_grad for parameter in self.parameters())


class TextEncoder(PartlyTrained):
    """Vectors of the last layer of a transformer. ``spec`` builds the same network without its weights."""

    def __init__(self, model: nn.Module, train: Train) -> None:
        super().__init__()
        self.model = model
        if getattr(model, "pooler", None) is not None:
            # It reads [CLS] for classification; nothing here would ever train it.
            self.model.pooler = None  # type: ignore[assignment]
        lists = [list(module) for module in model.modules() if isinstance(module, nn.ModuleList)]
        self.freeze(max(lists, key=len, default=[]), train)
        config: Any = model.config
        self.width: int = config.hidden_size
        self.tokens_max = _positions(model)
        self.spec = TextBackbone(config=_known(config.to_dict()), train=train)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, S, H) of ids (B, S) and mask (B, S); S is at most ``tokens_max``. Padding is read by no token."""
        # A text without any token would attend to nothing and become NaN.
        attended = mask | ~mask.any(dim=1, keepdim=True)
        hidden: Tensor = self.model(input_ids=tokens, attention_mask=attended.long()).last_hidden_state
        return hidden

    def save(self, folder: Path) -> None:
        """Write what ``TextBackbone(folder=...)`` reads; the tokenizer is saved by itself."""
        self.model.save_pretrained(folder)  # type: ignore[operator]


class PictureEncoder(PartlyTrained):
    """Regions of pictures, row by row. ``spec`` builds the same network without its weights."""

    def __init__(self, built: Parts, spec: PictureBackbone) -> None:
        super().__init__()
        self.layers = nn.ModuleList(built.layers)
        self.end = built.end
        self.regions, self.width = built.regions, built.width
        self.freeze(list(self.layers), spec.train)
        self.spec = spec

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, R, D) of pixels (N, 3, H, W) as ``spec.preprocess`` makes them."""
        for layer in self.layers:
            pixels = layer(pixels)
        regions: Tensor = self.end(pixels)
        return regions

    def save(self, folder: Path) -> None:
        """Write what ``PictureBackbone(folder=...)`` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_bytes(msgspec.json.encode(self.spec))
        write_weights(folder / WEIGHTS, self.state_dict(), folder / CONFIG)


def text_encoder(spec: TextBackbone) -> TextEncoder:
    """The encoder that ``spec`` names; fresh weights come from torch's random numbers. Raises ``BackboneError``."""
    if not spec.config:
        return TextEncoder(_pretrained_text(spec), spec.train)
    model = _fresh_text(spec.config)
    if spec.weights:
        prefix = f"{model.base_model_prefix}."
        state = read_weights(Path(spec.weights))
        _fill(model, {key.removeprefix(prefix): value for key, value in state.items()}, spec.weights)
    return TextEncoder(model, spec.train)


def tokenizer(source: str, *, download: bool = False) -> Any:
    """The tokenizer of transformers for a name of the hub or a folder. Raises ``BackboneError``."""
    from transformers import AutoTokenizer

    with _loads_from(source):
        return AutoTokenizer.from_pretrained(source, local_files_only=not download)


def picture_encoder(spec: PictureBackbone) -> PictureEncoder:
    """The encoder that ``spec`` names; fresh weights come from torch's random numbers. Raises ``BackboneError``."""
    if spec.folder:
        return _saved_picture_encoder(spec)
    config = spec.config or {"architecture": spec.name}
    fresh = msgspec.structs.replace(spec, name="", weights="", config=config)
    try:
        built = parts(config, spec.grid)
    except (ValueError, TypeError) as error:
        raise BackboneError(f"config of the picture encoder: {error}") from error
    if spec.name:
        _fill(built.network, _public_weights(spec), spec.name)
    elif spec.weights:
        _fill(built.network, read_weights(Path(spec.weights)), spec.weights)
    return PictureEncoder(built, fresh)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pt file, by name. Raises ``BackboneError``.

    A wrapping ``state_dict`` or ``model`` is taken off, and the ``module.`` that DataParallel writes before names.
    """
    try:
        safe = path.suffix == ".safetensors"
        state = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise BackboneError(
            f"{path} holds more than tensors; reading it could run foreign code. "
            "Write the tensors alone where you trust it: torch.save(model.state_dict(), FILE)"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, SafetensorError) as error:
        raise BackboneError(f"{path} cannot be read as weights: {error}") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise BackboneError(f"{path}: expected tensors by name, as torch.save(model.state_dict(), FILE) writes them")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def write_weights(path: Path, weights: Mapping[str, Tensor], like: Path | None = None) -> None:
    """Write a .safetensors file for its owner, or for all who may read the file ``like``. Raises ``OSError``."""
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, path)
    except SafetensorError as error:
        raise OSError(0, str(error), str(path)) from error
    if like is not None:
        # safetensors makes files that only their owner can read; a worker may run as somebody else.
        path.chmod(like.stat().st_mode & 0o666)


def digest(encoder: nn.Module) -> str:
    """SHA-256 over names, types, shapes and values of all weights and buffers, hex."""
    found = hashlib.sha256()
    for key, value in sorted(encoder.state_dict().items()):
        found.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def _saved_picture_encoder(spec: PictureBackbone) -> PictureEncoder:
    """What ``save`` wrote; only what to train is the new ``spec``'s. Raises ``BackboneError`` where it says more."""
    folder = Path(spec.folder)
    try:
        saved = msgspec.json.decode((folder / CONFIG).read_bytes(), type=PictureBackbone)
    except (OSError, msgspec.DecodeError) as error:
        raise BackboneError(f"{folder} is no folder of a picture encoder: {error}") from error
    default = PictureBackbone(folder=spec.folder)
    for name in ("grid", "preprocess"):
        if getattr(spec, name) not in (getattr(default, name), getattr(saved, name)):
            raise BackboneError(f"{name}: {folder} has its own; leave it out")
    encoder = picture_encoder(msgspec.structs.replace(saved, train=spec.train))
    _fill(encoder, read_weights(folder / WEIGHTS), str(folder))
    return encoder


def _fill(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load ``state``; what the network does not have (heads of pre-training, mostly) stays out."""
    own = network.state_dict()
    wrong = sorted(key for key in own if key not in state or state[key].shape != own[key].shape)
    # Nothing here reads a pooler; a checkpoint may lack it. Counters of BatchNorm came late.
    wrong = [key for key in wrong if not key.startswith("pooler.") and not key.endswith("num_batches_tracked")]
    if wrong:
        raise BackboneError(f"{source} does not fit the network: {_some(wrong)} missing or of another shape")
    network.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)


@contextlib.contextmanager
def _loads_from(source: str) -> Iterator[None]:
    """Around what transformers loads by name or folder, silently. Raises ``BackboneError``."""
    import transformers

    logging: Any = transformers.utils.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, UnpicklingError) as error:
        reason = str(error).partition("\n")[0][:200]
        if Path(source).is_dir():
            raise BackboneError(f"{source} cannot be loaded: {reason}") from error
        raise BackboneError(
            f"{source} is not on this machine. Fetch it with: hf download {source} (older versions: huggingface-cli "
            f"download {source}), or set download: true, or name a folder. ({reason})"
        ) from error


def _pretrained_text(spec: TextBackbone) -> Any:
    from transformers import AutoModel

    source = spec.name or spec.folder
    with _loads_from(source):
        model, told = AutoModel.from_pretrained(
            source, local_files_only=not spec.download, dtype=torch.float32, output_loading_info=True
        )
    missing = sorted(key for key in told["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise BackboneError(f"{source} does not fit the network: {_some(missing)} missing")
    return model


def _fresh_text(config: dict[str, Any]) -> Any:
    from transformers import AutoModel

    build: Any = AutoModel.from_config
    try:
        unknown = sorted(set(config) - set(_known(config)))
        model = None if unknown else build(_config(config))
    except (ValueError, TypeError, KeyError) as error:
        raise BackboneError(f"config of the text encoder: {error}") from error
    if unknown:
        raise BackboneError(f"config of the text encoder: {_some(unknown)}: unknown")
    return model


def _config(config: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(**{"model_type": "bert", **config})


def _known(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a config that its model type knows; published ones have fields that nothing reads any more."""
    default = _config({key: value for key, value in config.items() if key == "model_type"})
    return {key: value for key, value in config.items() if key in default.to_dict() or key in default.attribute_map}


def _public_weights(spec: PictureBackbone) -> dict[str, Tensor]:
    """Weights that torchvision publishes, from torch's folder for them or, with ``download``, from the network."""
    from torchvision.models import get_model_weights

    try:
        weights = get_model_weights(spec.name)[spec.release]
    except KeyError as error:
        raise BackboneError(f"torchvision has no {spec.release} of {spec.name}") from error
    if spec.download:
        try:
            fetched: dict[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True)
            return fetched
        except (OSError, RuntimeError) as error:
            raise BackboneError(f"{weights.url} cannot be fetched: {error}") from error
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if not path.exists():
        raise BackboneError(
            f"{path} is not there. Fetch it with: curl --create-dirs -o {path} {weights.url} , or set download: true"
        )
    return read_weights(path)


def _positions(model: nn.Module) -> int:
    """How many tokens a transformer can read; RoBERTa's table of positions begins behind that of padding."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return POSITIONS_MAX


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
