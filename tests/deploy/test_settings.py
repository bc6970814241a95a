"""Settings: file, environment, errors that name the key, secrets that stay secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.settings import Settings, SettingsError, flat, load


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "weibowatch.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_without_file_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None, {}) == Settings()


def test_file_then_environment(tmp_path: Path) -> None:
    path = write(tmp_path, "[web]\nport = 9000\nhost = '127.0.0.1'\n[worker]\nbatch_posts_max = 7\n")
    settings = load(path, {"WEIBOWATCH_WEB__PORT": "9001", "UNRELATED": "x"})
    assert (settings.web.port, settings.worker.batch_posts_max) == (9001, 7)
    assert load(None, {"WEIBOWATCH_CONFIG": str(path)}).web.port == 9000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[web]\nprot = 1\n", "unknown key web.prot.*host, port, token"),
        ("[wbe]\nport = 1\n", r"unknown section \[wbe\]"),
        ("web = 3\n", "must be a section"),
        ("[web]\nport = 'many'\n", "web.port"),
        ("[web]\nport = \n", "no valid TOML"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError, match=words) as caught:
        load(path, {})
    assert str(path) in str(caught.value)


def test_an_unknown_variable_or_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"WEIBOWATCH_WEB__PROT.*config show"):
        load(None, {"WEIBOWATCH_WEB__PROT": "1"})
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "nowhere.toml", {})


def test_secrets_are_not_shown() -> None:
    settings = load(None, {"WEIBOWATCH_WEB__TOKEN": "hush", "WEIBOWATCH_PRIVACY__AUTHOR_KEY": "k" * 32})
    shown = flat(settings)
    assert (shown["web.token"], shown["privacy.author_key"]) == ("***", "***")
    assert flat(settings, redact=False)["web.token"] == "hush"
    assert flat(Settings())["web.token"] == "", "unset is shown as unset"


@pytest.mark.parametrize("section", ["worker", "ingest"])
def test_the_port_for_probes_may_be_any_free_one_or_none(section: str) -> None:
    name = f"WEIBOWATCH_{section.upper()}__HTTP_PORT"
    for port in (-1, 0, 65_535):
        assert flat(load(None, {name: str(port)}))[f"{section}.http_port"] == port
    for value in ("-2", "65536"):
        with pytest.raises(SettingsError, match=rf"{section}\.http_port must be"):
            load(None, {name: value})
    with pytest.raises(SettingsError, match=f"{section}.http_host must not be empty"):
        load(None, {f"WEIBOWATCH_{section.upper()}__HTTP_HOST": ""})
