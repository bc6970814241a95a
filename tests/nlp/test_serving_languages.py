"""Each post goes to the model for its language, and its mentions say which model found them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp import artifact
from nlp.serving import loading
from nlp.serving.languages import LanguageTagger, is_english
from nlp.serving.settings import TaggerSettings
from stream.contract.ports import TagInput, tagged
from tests.nlp.serving_models import RED, Painted, Problems, picture, tagger_of


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("Taylor Swift is in Shanghai tonight", True),
        ("周杰伦在上海", False),
        ("iPhone 13 Pro Max 发布了", False),
        ("RT @BBC: the city of Shanghai (上海) opens its doors to visitors from abroad", True),
        ("https://t.cn/A6xyzabcdefghijk", False),
        ("看这个 https://t.cn/A6xyzabcdefghijklmnop", False),
        ("ＨＥＬＬＯ ＷＯＲＬＤ", True),
        ("Здравствуйте, мир", False),
        ("東京タワーへ行きました", False),
        ("123 :-)", False),
        ("", False),
        ("naïve café", True),
    ],
)
def test_the_language_of_a_post(text: str, english: bool) -> None:
    assert is_english(text) is english


@given(st.text(max_size=200))
def test_any_text_has_a_language(text: str) -> None:
    assert is_english(text) in (True, False)
    assert is_english(text + " ") is is_english(text)


@given(st.lists(st.sampled_from(["人", "人红", "Paris and Rome and London 人", ""]), max_size=12))
def test_posts_keep_their_order_and_spans_name_their_model(texts: list[str]) -> None:
    main, english = tagger_of(Painted()), tagger_of(Painted())
    english.model_version = "english-1"
    both = LanguageTagger(main, english)
    posts = [TagInput(text, (picture("r", RED),)) for text in texts]
    found = tagged(both, posts)
    assert [[span.type for span in spans] for spans in found] == [
        [span.type for span in spans] for spans in tagged(main, posts)
    ]
    for text, spans in zip(texts, found, strict=True):
        assert {span.model_version for span in spans} <= {"english-1" if is_english(text) else main.model_version}
        assert bool(spans) == bool(text)
    assert both.model_version == f"{main.model_version}+english-1"


def test_the_settings_name_the_english_model(tmp_path: Path) -> None:
    folder = tmp_path / "english"
    shutil.copytree(artifact.DEFAULT, folder)
    card = (folder / artifact.CARD).read_text().replace(f'"name": "{_name()}"', '"name": "english"')
    (folder / artifact.CARD).write_text(card)
    settings = TaggerSettings(english_model=str(folder))
    main = loading.load(None, settings, Problems())
    both = loading.with_english(main, settings, Problems())
    texts = ["Last night I went to a concert of 周杰伦 with all of my friends", "周杰伦在上海"]
    english, chinese = tagged(both, [TagInput(text) for text in texts])
    assert {span.model_version for span in chinese} == {main.model_version}
    assert {span.model_version for span in english} == {both.model_version.partition("+")[2]}
    assert both.model_version.partition("+")[2].startswith("english-")
    assert loading.with_english(main, TaggerSettings(), Problems()) is main


def _name() -> str:
    return artifact.load(artifact.DEFAULT)[1].name
