"""Encoders of texts and pictures: on tiny models that are made here, since public weights may not be fetched."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from nlp.backbones import (
    BackboneError,
    PartlyTrained,
    PictureBackbone,
    TextBackbone,
    digest,
    picture_encoder,
    read_weights,
    text_encoder,
    tokenizer,
)
from nlp.pictures import Preprocess

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 40,
    "max_position_embeddings": 20,
}
FAMILIES = ["bert", "roberta", "electra", "xlm-roberta"]
SMALL = {"architecture": "small", "channels": [4, 8]}
TOKENS = torch.tensor([[2, 5, 6, 7, 3], [2, 9, 3, 0, 0]])
MASK = TOKENS != 0


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One thread, the same random numbers, and no chance to reach a network or a cache of the user."""
    torch.set_num_threads(1)
    torch.manual_seed(5)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))


def tiny(model_type: str = "bert", **more: Any) -> TextBackbone:
    return TextBackbone(config={"model_type": model_type, **SIZES, **more})


def step(encoder: nn.Module, out: Callable[[], Tensor]) -> None:
    """One step of training, towards smaller outputs."""
    encoder.train()
    optimiser = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
    out().pow(2).mean().backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    encoder.eval()


@pytest.mark.parametrize("model_type", FAMILIES)
def test_text_encoder_trains_saves_and_loads_again(tmp_path: Path, model_type: str) -> None:
    encoder = text_encoder(tiny(model_type))
    before = digest(encoder)
    step(encoder, lambda: encoder(TOKENS, MASK))
    assert digest(encoder) != before
    encoder.save(tmp_path / "model")
    again = text_encoder(TextBackbone(folder=str(tmp_path / "model"))).eval()
    assert torch.equal(again(TOKENS, MASK), encoder(TOKENS, MASK))
    assert digest(again) == digest(encoder)
    assert again(TOKENS, MASK).shape == (2, 5, encoder.width)


def test_positions_of_roberta_begin_behind_padding() -> None:
    assert text_encoder(tiny("bert")).tokens_max == 20
    roberta = text_encoder(tiny("roberta", pad_token_id=1))
    assert roberta.tokens_max == 18
    tokens = torch.full((1, 18), 7)
    assert roberta(tokens, tokens > 0).shape == (1, 18, 16)


@pytest.mark.parametrize("model_type", ["bert", "roberta", "electra"])
def test_text_weights_from_a_file_by_their_published_names(tmp_path: Path, model_type: str) -> None:
    source = text_encoder(tiny(model_type)).eval()
    published = {f"{source.model.base_model_prefix}.{key}": value for key, value in source.model.state_dict().items()}
    published["cls.predictions.bias"] = torch.zeros(40)
    save_file({key: value.clone() for key, value in published.items()}, tmp_path / "w.safetensors")
    torch.save({"state_dict": published}, tmp_path / "w.pt")
    parallel = {f"module.{key}": value.clone() for key, value in published.items()}
    save_file(parallel, tmp_path / "parallel.safetensors")
    for name in ("w.safetensors", "w.pt", "parallel.safetensors"):
        spec = msgspec.structs.replace(tiny(model_type), weights=str(tmp_path / name))
        assert torch.equal(text_encoder(spec).eval()(TOKENS, MASK), source(TOKENS, MASK))


def test_spec_builds_the_same_network_without_its_files(tmp_path: Path) -> None:
    text_encoder(tiny()).save(tmp_path)
    encoder = text_encoder(TextBackbone(folder=str(tmp_path), train=2)).eval()
    spec = msgspec.json.decode(msgspec.json.encode(encoder.spec), type=TextBackbone)
    again = text_encoder(spec).eval()
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(TOKENS, MASK), encoder(TOKENS, MASK))
    assert spec.train == 2


def test_padding_changes_nothing_and_an_empty_text_is_a_number() -> None:
    encoder = text_encoder(tiny()).eval()
    alone = encoder(TOKENS[1:, :3], MASK[1:, :3])
    assert torch.allclose(encoder(TOKENS, MASK)[1:, :3], alone, atol=1e-6)
    assert encoder(TOKENS, MASK & torch.tensor([[True], [False]])).isfinite().all()


def test_partly_trained_text_encoder_moves_its_last_layers_only() -> None:
    encoder = text_encoder(msgspec.structs.replace(tiny(), train=1))
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    step(encoder, lambda: encoder(TOKENS, MASK))
    moved = {key for key, value in encoder.state_dict().items() if not torch.equal(value, before[key])}
    assert moved
    assert all("encoder.layer.2." in key for key in moved)
    encoder.train()
    assert [name for name, m in encoder.model.named_modules() if isinstance(m, nn.Dropout) and m.training] == [
        name for name, m in encoder.model.named_modules() if isinstance(m, nn.Dropout) and "layer.2." in name
    ]


def test_frozen_encoder_gives_the_same_in_training() -> None:
    encoder = text_encoder(msgspec.structs.replace(tiny(), train="frozen")).train()
    assert encoder.frozen
    assert torch.equal(encoder(TOKENS, MASK), encoder(TOKENS, MASK))


@pytest.mark.parametrize("train", [0, 4, -1])
def test_layers_that_are_not_there(train: int) -> None:
    with pytest.raises(BackboneError, match="from 1 to 3"):
        text_encoder(msgspec.structs.replace(tiny(), train=train))


def test_tokenizer_from_a_folder(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "上", "海", "new", "##s"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    text_encoder(tiny()).save(tmp_path)
    found = tokenizer(str(tmp_path))("上海 news")["input_ids"]
    assert found == [2, 5, 6, 7, 8, 3]


@pytest.mark.parametrize("load", [lambda name: text_encoder(TextBackbone(name=name)), tokenizer])
def test_a_name_that_is_not_here_says_how_to_fetch_it(load: Callable[[str], Any]) -> None:
    with pytest.raises(BackboneError, match="hf download weibowatch/none"):
        load("weibowatch/none")


def test_public_weights_that_are_not_here_say_how_to_fetch_them() -> None:
    with pytest.raises(BackboneError, match=r"curl .*hub/checkpoints/resnet18-\w+\.pth https://"):
        picture_encoder(PictureBackbone(name="resnet18"))


def test_public_weights_are_taken_from_where_torchvision_puts_them(tmp_path: Path) -> None:
    source = picture_encoder(PictureBackbone(config={"architecture": "resnet18"}, grid=2)).eval()
    from torchvision import models

    network = models.resnet18()
    published = {**network.state_dict()}
    file = tmp_path / "hub" / "checkpoints" / Path(models.ResNet18_Weights.IMAGENET1K_V1.url).name
    file.parent.mkdir(parents=True)
    torch.save(published, file)
    found = picture_encoder(PictureBackbone(name="resnet18", grid=2)).eval()
    pixels = torch.randn(1, 3, 64, 64)
    wanted = nn.Sequential(*list(network.eval().children())[:-2])(pixels).flatten(2).transpose(1, 2)
    assert torch.equal(found(pixels), wanted)
    assert not torch.equal(found(pixels), source(pixels))


class Payload:
    """Would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.write_text, (self.path, "ran")


def test_a_file_of_code_is_not_run(tmp_path: Path) -> None:
    torch.save({"layer": Payload(tmp_path / "ran")}, tmp_path / "w.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Payload(tmp_path / "ran"), protocol=2))
    for name in ("w.pt", "plain.pt"):
        with pytest.raises(BackboneError, match="run foreign code"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("content", [None, b"", b"\x00\x01nothing"])
def test_unreadable_weights(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BackboneError, match=name):
        read_weights(tmp_path / name)


def test_weights_of_another_network_name_what_is_wrong(tmp_path: Path) -> None:
    state = picture_encoder(PictureBackbone(config=SMALL)).layers.state_dict()
    state.pop("1.0.weight")
    torch.save({f"{key}": value for key, value in state.items()}, tmp_path / "w.pt")
    with pytest.raises(BackboneError, match=r"1\.0\.weight missing"):
        picture_encoder(PictureBackbone(config=SMALL, weights=str(tmp_path / "w.pt")))


@pytest.mark.parametrize(
    "config",
    [{"architecture": "nothing"}, {"architecture": "small", "channels": [3]}, {"architecture": "swin_t"}, {"size": 3}],
)
def test_picture_configs_that_are_not_known(config: dict[str, Any]) -> None:
    with pytest.raises(BackboneError, match="config of the picture encoder"):
        picture_encoder(PictureBackbone(config=config))


@pytest.mark.parametrize("config", [{"model_type": "nothing"}, {"model_type": "bert", "hidden": 3}])
def test_text_configs_that_are_not_known(config: dict[str, Any]) -> None:
    with pytest.raises(BackboneError, match="config of the text encoder"):
        text_encoder(TextBackbone(config=config))


@pytest.mark.parametrize(
    "fields", [{}, {"name": "a", "folder": "b"}, {"weights": "w"}, {"name": "a", "weights": "w"}, {"nothing": 1}]
)
@pytest.mark.parametrize("kind", [TextBackbone, PictureBackbone])
def test_a_spec_needs_one_source(kind: type, fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, kind)


VIT: dict[str, Any] = {
    "architecture": "vit",
    "image_size": 64,
    "patch_size": 16,
    "num_layers": 2,
    "hidden_dim": 24,
    "num_heads": 2,
    "mlp_dim": 8,
}


@pytest.mark.parametrize(
    ("config", "regions", "width"),
    [
        (SMALL, 49, 8),
        ({"architecture": "resnet18"}, 49, 512),
        ({"architecture": "vgg11"}, 49, 512),
        (VIT, 16, 24),
        ({"architecture": "efficientnet_b0"}, 49, 1280),
        ({"architecture": "mobilenet_v3_small"}, 49, 576),
    ],
)
def test_regions_of_each_architecture(config: dict[str, Any], regions: int, width: int) -> None:
    encoder = picture_encoder(PictureBackbone(config=config)).eval()
    assert (encoder.regions, encoder.width) == (regions, width)
    assert encoder(torch.randn(2, 3, 64, 64)).shape == (2, regions, width)


@pytest.mark.parametrize(
    ("config", "head"),
    [
        ({"architecture": "resnet18"}, "fc."),
        ({"architecture": "vgg11"}, "classifier."),
        (VIT, "heads."),
        ({"architecture": "mobilenet_v3_small"}, "classifier."),
    ],
)
def test_weights_may_have_a_head_that_classifies_or_none(tmp_path: Path, config: dict[str, Any], head: str) -> None:
    from torchvision import models

    sizes = {key: value for key, value in config.items() if key != "architecture"}
    network = models.VisionTransformer(**sizes) if config is VIT else models.get_model(config["architecture"])
    whole = network.state_dict()
    headless = {key: value for key, value in whole.items() if not key.startswith(head)}
    assert len(headless) < len(whole)
    found = []
    for name, weights in (("whole", whole), ("headless", headless)):
        torch.save(weights, tmp_path / f"{name}.pt")
        encoder = picture_encoder(PictureBackbone(config=config, weights=str(tmp_path / f"{name}.pt")))
        found.append(digest(encoder))
    assert found[0] == found[1]


def test_regions_of_vit_are_those_of_torchvision(tmp_path: Path) -> None:
    from torchvision import models

    network = models.VisionTransformer(**{key: value for key, value in VIT.items() if key != "architecture"}).eval()
    torch.save(network.state_dict(), tmp_path / "vit.pt")
    encoder = picture_encoder(PictureBackbone(config=VIT, weights=str(tmp_path / "vit.pt"))).eval()
    seen: list[Tensor] = []
    network.encoder.register_forward_hook(lambda module, given, result: seen.append(result))
    pixels = torch.randn(2, 3, 64, 64)
    network(pixels)
    assert torch.allclose(encoder(pixels), seen[0][:, 1:], atol=1e-6)


def test_regions_stand_row_by_row() -> None:
    encoder = picture_encoder(PictureBackbone(config={"architecture": "small", "channels": [4]}, grid=2)).eval()
    pixels = torch.zeros(1, 3, 8, 8)
    pixels[:, :, 1:3, 5:7] = 3.0
    changed = (encoder(pixels) - encoder(torch.zeros(1, 3, 8, 8))).abs().sum(dim=2)[0]
    assert int(changed.argmax()) == 1


@pytest.mark.parametrize("config", [SMALL, {"architecture": "resnet18"}])
def test_picture_encoder_trains_saves_and_loads_again(tmp_path: Path, config: dict[str, Any]) -> None:
    encoder = picture_encoder(PictureBackbone(config=config, train="all", grid=2))
    pixels = torch.randn(2, 3, 32, 32)
    before = digest(encoder)
    step(encoder, lambda: encoder(pixels))
    assert digest(encoder) != before
    encoder.save(tmp_path)
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1
    again = picture_encoder(PictureBackbone(folder=str(tmp_path))).eval()
    assert torch.equal(again(pixels), encoder(pixels))
    assert again.frozen
    assert again.spec.preprocess == encoder.spec.preprocess


def test_an_encoder_that_was_saved_has_its_own_grid_and_preprocessing(tmp_path: Path) -> None:
    own = Preprocess(crop=64, resize=64)
    encoder = picture_encoder(PictureBackbone(config=SMALL, grid=2, preprocess=own))
    encoder.save(tmp_path)
    given = PictureBackbone(folder=str(tmp_path))
    for same in (given, PictureBackbone(folder=str(tmp_path), grid=2, preprocess=own)):
        again = picture_encoder(same)
        assert (again.spec.grid, again.spec.preprocess) == (2, own)
    for name, value in (("grid", 3), ("preprocess", Preprocess(crop=32))):
        with pytest.raises(BackboneError, match=f"{name}: .* has its own; leave it out"):
            picture_encoder(msgspec.structs.replace(given, **{name: value}))


def test_statistics_of_frozen_batch_norm_do_not_move() -> None:
    encoder = picture_encoder(PictureBackbone(config={"architecture": "resnet18"}, train=1, grid=1)).train()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    step(encoder, lambda: encoder(torch.randn(2, 3, 64, 64)))
    moved = {key for key, value in encoder.state_dict().items() if not torch.equal(value, before[key])}
    assert {key.split(".")[1] for key in moved} == {"4"}
    assert any("running_mean" in key for key in moved)
    frozen = picture_encoder(PictureBackbone(config={"architecture": "resnet18"})).train()
    assert not any(isinstance(module, nn.BatchNorm2d) and module.training for module in frozen.modules())
    assert isinstance(frozen, PartlyTrained)
