"""The cross-lingual experiment: its figures on counts made by hand, what is trained, and the command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.experiments.crosslingual import settings_of
from nlp.datasets import Example
from nlp.experiments import crosslingual_runs
from nlp.experiments.crosslingual import ARMS, LANGUAGES, Arm, Language, Trained, alone, pairs, results_of
from nlp.experiments.crosslingual_report import named
from nlp.experiments.crosslingual_runs import Bench, Sizes, data_of
from nlp.experiments.pooled import Counts
from nlp.training import trained
from nlp.training.mixing import Part, counts

RIGHT, WRONG = (1, 1, 1), (0, 1, 1)
SIZES = Sizes(posts=24, few=6)
CONFIG = Path(__file__).parents[2] / "nlp" / "configs" / "fusion.yaml"
WORDS: dict[Language, str] = {"zh": "王 小 明 在 北 京", "en": "Ann is in Paris now ."}
TAGS: dict[Language, str] = {"zh": "B-PER I-PER I-PER O B-LOC I-LOC", "en": "B-PER O O B-LOC O O"}


def posts(language: Language, count: int) -> list[Example]:
    return [
        Example(f"{language}{number}", tuple(WORDS[language].split()), tuple(TAGS[language].split()))
        for number in range(count)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What is trained on: all posts and few of each language, and those that the epoch is chosen on."""
    sets: dict[Language, list[Example]] = {"zh": posts("zh", 40), "en": posts("en", 18)}
    crosslingual_runs.write_sets(tmp_path, sets, SIZES)
    return tmp_path


def made(zh: Counts, en: Counts, seed: int = 1) -> Trained:
    return Trained(seed=seed, counts={"zh": zh, "en": en}, epoch=1, minutes=0.0)


def test_every_arm_is_held_against_the_model_that_never_saw_the_other_language() -> None:
    by_arm = {arm.name: [made([WRONG] * 20, [RIGHT] * 30, seed) for seed in (1, 2)] for arm in ARMS}
    by_arm["tuned-zh"] = [made([RIGHT] * 20, [RIGHT] * 30), made([WRONG] * 20, [RIGHT] * 30)]
    by_arm["few-joint-en"] = [made([WRONG] * 20, [WRONG] * 30) for _ in range(2)]
    found = results_of(by_arm, seed=1)
    apart = {(gain.language, gain.arm, gain.against): gain for gain in found.gains if gain.difference.value}
    assert {key: gain.difference.value for key, gain in apart.items()} == {
        ("zh", "tuned-zh", "mix-0"): 0.5, ("en", "few-joint-en", "few-en"): -1.0,
    }  # fmt: skip
    assert all(gain.difference.p <= gain.p < 0.01 for gain in apart.values())
    [row] = [row for row in found.rows if row.arm == "tuned-zh"]
    assert row.scores["zh"].seeds.values == [1, 0] and row.scores["zh"].f1.value == 0.5


def test_all_that_is_tested_is_trained_and_the_rest_stands_in_the_curve() -> None:
    tested = {arm for _, *both in pairs() for arm in both}
    assert tested == set(ARMS) and len({arm.name for arm in ARMS}) == len(ARMS) == 14
    assert all(against in (alone(language), Arm("few", target=language)) for language, _, against in pairs())
    assert len({named(arm.name) for arm in ARMS}) == len(ARMS)


def shown(arm: Arm, folder: Path) -> dict[str, int]:
    """How many posts of each file an epoch of this arm shows."""
    files = data_of(arm, folder, SIZES).train
    sizes = [len(Path(file.path).read_text(encoding="utf-8").splitlines()) for file in files]
    parts = [Part(size, file.weight, file.group) for size, file in zip(sizes, files, strict=True)]
    return dict(zip((Path(file.path).stem for file in files), counts(parts, {}), strict=True))


def test_an_epoch_has_as_many_posts_of_each_language_as_the_arm_says(folder: Path) -> None:
    assert shown(Arm("mix", 0.0), folder) == {"zh": 24}
    assert shown(Arm("mix", 0.25), folder) == {"zh": 18, "en": 6}
    assert shown(Arm("mix", 1.0), folder) == {"en": 24}, "of fewer posts, some twice"
    assert shown(Arm("both"), folder) == {"zh": 24, "en": 16}
    assert shown(Arm("tuned", target="en"), folder) == {"en": 24}
    assert shown(Arm("few", target="zh"), folder) == {"zh-few": 12}
    assert shown(Arm("few-joint", target="en"), folder) == {"en-few": 6, "zh": 6}
    assert shown(Arm("few-tuned", target="zh"), folder) == {"zh-few": 12}


def test_the_epoch_is_chosen_on_posts_of_the_languages_that_a_model_is_for(folder: Path) -> None:
    def chosen_on(arm: Arm) -> list[str]:
        return [Path(file.path).stem for file in data_of(arm, folder, SIZES).dev]

    assert chosen_on(Arm("mix", 0.5)) == ["zh-chosen-on", "en-chosen-on"]
    assert chosen_on(Arm("mix", 1.0)) == ["en-chosen-on"]
    assert chosen_on(Arm("few-joint", target="zh")) == ["zh-few-chosen-on"]
    for language in LANGUAGES:
        kept, held = (
            {line for line in (folder / f"{language}{part}.jsonl").read_text(encoding="utf-8").splitlines()}
            for part in ("", "-chosen-on")
        )
        assert kept and held and not kept & held


def test_what_is_tuned_begins_with_the_model_of_the_other_language(tmp_path: Path) -> None:
    bench = Bench(settings_of(None, 1), SIZES, str(tmp_path))
    sets: dict[Language, list[Example]] = {language: posts(language, 40) for language in LANGUAGES}
    found = crosslingual_runs.run_of(bench, Arm("tuned", target="zh"), 3, sets, sets, lambda done, total: None)
    assert {language: len(own) for language, own in found.counts.items()} == {"zh": 40, "en": 40}
    first, then = (trained.load(tmp_path / name / "model") for name in ("mix-100-3", "tuned-zh-3"))
    assert then.card.settings["init_from"] == str(tmp_path / "mix-100-3" / "model")
    known, grown = (model.coder.sizes[0] for model in (first, then))
    assert grown > known, "the words of the other language stay, those of one's own are new"


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["experiment", "crosslingual", *arguments])
    return done.exit_code, done.output


def test_it_reports_curve_and_gains_and_goes_on_with_its_trainings(tmp_path: Path) -> None:
    rows = [{"id": post.id, "tokens": post.tokens, "tags": post.tags} for post in posts("en", 40)]
    english = tmp_path / "en.jsonl"
    english.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    out = tmp_path / "out"
    arguments = ("--en-train", str(english), "--en-dev", str(english), "--quick", "--posts", "16", "--out", str(out))
    code, output = command(*arguments, "--target-posts", "8")
    assert code == 0, output
    figures = json.loads((out / "figures.json").read_text(encoding="utf-8"))
    facts, results = figures["facts"], figures["results"]
    assert facts["posts"] == {"zh": [750, 250], "en": [40, 40]} and facts["seeds"] == [1]
    assert facts["types"] == {"zh": ["LOC", "MISC", "ORG", "PER"], "en": ["LOC", "PER"]}
    assert [row["arm"] for row in results["rows"]] == [arm.name for arm in ARMS]
    assert len(results["gains"]) == len(pairs())
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<polyline") == 2 and "unlike types" in page
    assert not re.search(r"(src|href)=|@import|url\(", page), "the page needs something else"
    markdown = (out / "report.md").read_text(encoding="utf-8")
    assert all((out / file).exists() for file in re.findall(r"!\[.*?\]\((.*?)\)", markdown))
    parts = {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    assert command(*arguments, "--target-posts", "8", "--resume", "--json")[0] == 0
    assert parts == {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    assert json.loads((out / "figures.json").read_text(encoding="utf-8")) == figures


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "ready, not run"),
        (("--en-train", "a.txt", "--en-dev", "b.txt"), "a.txt"),
        (("--en-train", "a", "--en-dev", "b", "--zh-train", "c"), "name both"),
        (("--en-train", "a", "--en-dev", "b", "--posts", "20", "--target-posts", "20"), "fewer than the 20"),
        (("--en-train", "a", "--en-dev", "b", "--type", "OTHER"), "expected OLD=NEW"),
        (("--en-train", "a", "--en-dev", "b", "--config", str(CONFIG)), "without pictures"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    code, output = command(*arguments, "--out", str(tmp_path))
    assert code in (1, 2) and message in output and "Traceback" not in output
