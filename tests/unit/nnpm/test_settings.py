"""Where settings come from, and what is said about wrong ones."""

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
