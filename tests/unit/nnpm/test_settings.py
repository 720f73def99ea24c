"""Where settings come from, and what is said about wrong ones."""

from pathlib import Path

import pytest

from nnpm.errors import InvalidArgument
from nnpm.settings import ServiceSettings


def test_flags_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNPM_REGISTRY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("NNPM_LOG_LEVEL", "debug")
    settings = ServiceSettings.load(["--registry-address", "127.0.0.1:2"])
    assert (settings.registry_address, settings.log_level) == ("127.0.0.1:2", "debug")


def test_a_wrong_value_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNPM_TRACE_SAMPLE_RATIO", "2")
    with pytest.raises(InvalidArgument, match="NNPM_TRACE_SAMPLE_RATIO") as caught:
        ServiceSettings.load([])
    assert caught.value.reason == "INVALID_SETTINGS"


def test_every_field_is_described() -> None:
    assert all(field.description for field in ServiceSettings.model_fields.values())


def test_help_names_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        ServiceSettings.load(["--help"])
    assert caught.value.code == 0
    assert "--max-message-bytes" in capsys.readouterr().out


def test_a_setting_is_read_from_the_file_that_its_variable_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "redis_url"
    secret.write_text("redis://:p%40ss word@redis:6379/0\r\n")
    monkeypatch.delenv("NNPM_REDIS_URL", raising=False)
    monkeypatch.setenv("NNPM_REDIS_URL_FILE", str(secret))
    assert ServiceSettings.load([]).redis_url == "redis://:p%40ss word@redis:6379/0"
    assert ServiceSettings.load(["--redis-url", "redis://other"]).redis_url == "redis://other"


def test_numbers_in_files_are_checked_like_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ratio").write_text("0.5\n")
    monkeypatch.setenv("NNPM_TRACE_SAMPLE_RATIO_FILE", str(tmp_path / "ratio"))
    assert ServiceSettings.load([]).trace_sample_ratio == 0.5
    (tmp_path / "ratio").write_text("many")
    with pytest.raises(InvalidArgument, match="NNPM_TRACE_SAMPLE_RATIO"):
        ServiceSettings.load([])


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x" * 70_000], ids=["missing", "no-text", "too-long"])
def test_a_file_that_holds_no_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "url").write_bytes(content)
    monkeypatch.delenv("NNPM_REDIS_URL", raising=False)
    monkeypatch.setenv("NNPM_REDIS_URL_FILE", str(tmp_path / "url"))
    with pytest.raises(InvalidArgument, match="NNPM_REDIS_URL_FILE") as caught:
        ServiceSettings.load([])
    assert caught.value.reason == "INVALID_SETTINGS"
    assert len(caught.value.message) < 1000


def test_a_value_and_a_file_at_once_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://a")
    monkeypatch.setenv("NNPM_REDIS_URL", "redis://b")
    monkeypatch.setenv("NNPM_REDIS_URL_FILE", str(tmp_path / "url"))
    with pytest.raises(InvalidArgument, match="both"):
        ServiceSettings.load([])
