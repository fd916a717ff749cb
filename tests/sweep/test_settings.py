"""Where things are kept, from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.settings import Settings
from sweep.store import Store
from trainers.exceptions import MetsweepError

NAMES = ("METSWEEP_STORE", "MLFLOW_TRACKING_URI", "OPTUNA_STORAGE", "RAY_ADDRESS")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch, empty: str, tmp_path: Path) -> None:
    unset = Settings.from_environment()
    assert unset.store == str(tmp_path / "metsweep-store")
    for name in NAMES:
        monkeypatch.setenv(name, empty)
    assert Settings.from_environment() == unset


def test_the_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METSWEEP_STORE", "~/store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///~/mlflow.db")
    monkeypatch.setenv("OPTUNA_STORAGE", "sqlite:///~/optuna.db")
    monkeypatch.setenv("METSWEEP_CACHE", "~/cache")
    settings = Settings.from_environment()
    assert settings.store == "/home/me/store"
    assert settings.tracking_uri == "sqlite:////home/me/mlflow.db"
    assert settings.optuna_storage == "sqlite:////home/me/optuna.db"
    assert Settings.from_environment("~/other").store == "/home/me/other"
    assert Store("s3://bucket").local.parent == Path("/home/me/cache")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (
            "METSWEEP_STORE",
            "ftp://me:secret@host/x",
            "not a place for a store; allowed: a folder, or s3://bucket/prefix",
        ),
        (
            "METSWEEP_STORE",
            "s3:/bucket/x",
            "s3:/bucket/x is not a place for a store; allowed: a folder, or s3://bucket",
        ),
        ("METSWEEP_STORE", "S3://bucket/x", "is not a place for a store; allowed: a folder, or s3://bucket/prefix"),
        ("METSWEEP_STORE", "~nobody-of-that-name/x", "METSWEEP_STORE is '~nobody-of-that-name/x': .*whole path"),
        ("MLFLOW_TRACKING_URI", "http://[::1", "MLFLOW_TRACKING_URI is not a folder, URI or address"),
        ("OPTUNA_STORAGE", "postgresql://me:secret\u2100@host/x", "OPTUNA_STORAGE is not a folder, URI or address"),
        ("RAY_ADDRESS", "a\nb", "RAY_ADDRESS contains a control character"),
        ("METSWEEP_STORE", "\udcff", "METSWEEP_STORE is not a folder, URI or address"),
    ],
)
def test_a_bad_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(MetsweepError, match=told) as raised:
        Settings.from_environment()
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "store", ["a\0b", "a\nb", "\udcff", "http://[::1", "s3:bucket", "file:///x", "~nobody-of-that-name/x"]
)
def test_a_bad_store_of_the_command_line_is_refused(store: str) -> None:
    with pytest.raises(MetsweepError, match=r"^(METSWEEP_STORE \()?--store"):
        Settings.from_environment(store)


def test_an_empty_store_of_the_command_line_counts_as_none() -> None:
    assert Settings.from_environment(" ") == Settings.from_environment()
