"""Regions on disk: found again, never stale, never half."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nlp.backbones import PictureBackbone, PictureEncoder, picture_encoder
from nlp.feature_cache import FeatureCache, recipe
from nlp.pictures import Preprocess

SPEC = PictureBackbone(config={"architecture": "small", "channels": [4]}, grid=2)


class Maker:
    """Makes regions, and counts how often."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> NDArray[np.float32]:
        self.made += 1
        return np.random.default_rng(self.made).normal(size=(4, 4)).astype(np.float32)


@pytest.fixture
def encoder() -> PictureEncoder:
    torch.manual_seed(1)
    return picture_encoder(SPEC)


def test_a_picture_is_seen_once(tmp_path: Path, encoder: PictureEncoder) -> None:
    make = Maker()
    first = FeatureCache(tmp_path, encoder).of(b"one", make)
    again = FeatureCache(tmp_path, encoder)
    assert np.array_equal(again.of(b"one", make), first)
    assert make.made == 1
    assert not np.array_equal(again.of(b"two", make), first)
    assert make.made == 2


def test_whoever_may_read_the_folder_may_read_its_files(tmp_path: Path, encoder: PictureEncoder) -> None:
    FeatureCache(tmp_path / "cache", encoder).of(b"one", Maker())
    (file,) = tmp_path.rglob("*.npy")
    assert file.stat().st_mode & 0o777 == file.parent.stat().st_mode & 0o666


def test_whatever_regions_depend_on_changes_the_recipe(encoder: PictureEncoder) -> None:
    torch.manual_seed(1)
    assert recipe(picture_encoder(SPEC)) == recipe(encoder)
    others = [picture_encoder(SPEC)]
    others += [
        picture_encoder(msgspec.structs.replace(SPEC, **change))
        for change in ({"grid": 1}, {"preprocess": Preprocess(crop=100)}, {"config": {**SPEC.config, "channels": [8]}})
    ]
    others[1].load_state_dict(encoder.state_dict())
    others[2].load_state_dict(encoder.state_dict())
    assert len({recipe(encoder), *map(recipe, others)}) == 5


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", bytes(300), None])
def test_a_damaged_file_is_made_anew(tmp_path: Path, encoder: PictureEncoder, damage: bytes | None) -> None:
    make = Maker()
    cache = FeatureCache(tmp_path, encoder)
    cache.of(b"one", make)
    (file,) = tmp_path.rglob("*.npy")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] if damage is None else damage)
    found = cache.of(b"one", make)
    assert make.made == 2
    assert np.array_equal(cache.of(b"one", make), found)
    assert file.stat().st_size == len(whole)


def test_a_failure_leaves_nothing(tmp_path: Path, encoder: PictureEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(tmp_path, encoder)
    with pytest.raises(ValueError, match=r"\(3, 4\), expected \(4, 4\)"):
        cache.of(b"one", lambda: np.zeros((3, 4), np.float32))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(OSError, match="No space left"):
            cache.of(b"one", Maker())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
