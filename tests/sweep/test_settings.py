"""The settings: what sets them, which source wins, what is refused, and what libraries and other machines get."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path
from unittest.mock import patch

import pytest

from sweep.cli import main
from sweep.cli.fault import describe
from sweep.settings import OTHER_VARIABLES, Settings, settings_and_origins, variables_of
from sweep.store import Store
from sweep.tracking.mlflow_client import connect
from tests.conftest import PLACES
from tests.source_files import ROOT
from trainers.exceptions import ConfigError, MetsweepError


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A project folder with a folder in it, a home, and an environment that is restored afterwards."""
    with patch.dict(os.environ):
        for name in (name for key in Settings.model_fields for name in variables_of(key)):
            os.environ.pop(name, None)
        os.environ |= {"HOME": "/home/me", "XDG_CONFIG_HOME": str(tmp_path / "config")}
        inside = tmp_path / "project" / "inside"
        inside.mkdir(parents=True)
        monkeypatch.chdir(inside)
        yield


def write(file: Path, text: str, mode: int = 0o644) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
    return file


def of_project(text: str, mode: int = 0o644) -> Path:
    """Write the file of the project, whose folder is above the working directory."""
    return write(Path.cwd().parent / "metsweep.toml", text, mode)


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    unset = Settings.from_environment()
    assert unset.store == str(Path.cwd() / "metsweep-store")
    for name in PLACES:
        monkeypatch.setenv(name, empty)
    assert Settings.from_environment() == unset == Settings()


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


def test_each_source_goes_before_the_next(tmp_path: Path) -> None:
    def in_effect(store: str | None = None) -> tuple[str | None, str]:
        settings, origins = settings_and_origins(store)
        return settings.ray_address if store is None else settings.store, origins[
            "ray_address" if store is None else "store"
        ]

    user = write(tmp_path / "config" / "metsweep" / "metsweep.toml", '# mine\nray_address = "of-user:1"\n')
    assert in_effect() == ("of-user:1", f"{user}:2")
    project = of_project('ray_address = "of-project:1"')
    assert in_effect() == ("of-project:1", f"{project}:1")
    nearer = write(Path("metsweep.toml").absolute(), 'ray_address = "nearer:1"')
    assert in_effect() == ("nearer:1", f"{nearer}:1")
    os.environ["RAY_ADDRESS"] = "of-ray:1"
    assert in_effect() == ("of-ray:1", "RAY_ADDRESS")
    os.environ["METSWEEP_RAY_ADDRESS"] = "of-metsweep:1"
    assert in_effect() == ("of-metsweep:1", "METSWEEP_RAY_ADDRESS")
    os.environ["METSWEEP_STORE"] = "/of/metsweep"
    assert in_effect("/given") == ("/given", "--store")


@pytest.mark.parametrize(
    ("weaker", "stronger", "key"),
    [("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "s3_endpoint"), ("AWS_REGION", "AWS_DEFAULT_REGION", "s3_region")],
)
def test_of_two_names_of_a_library_one_wins(weaker: str, stronger: str, key: str) -> None:
    os.environ[weaker] = "http://weaker"
    assert getattr(settings_and_origins()[0], key) == "http://weaker"
    os.environ[stronger] = "http://stronger"
    assert settings_and_origins()[1][key] == stronger


def test_paths_in_a_file_start_from_its_folder_and_others_from_the_working_directory() -> None:
    project = Path.cwd().parent
    of_project(
        'store = "results"\ncache = "~/cache"\noptuna_storage = "sqlite:///o.db"\ns3_ca_file = "ca.pem"\n'
        'postgresql_ca_file = "system"\ntracking_uri = "sqlite:///:memory:"'
    )
    settings = settings_and_origins()[0]
    assert settings.store == str(project / "results")
    assert settings.cache == "/home/me/cache"
    assert settings.optuna_storage == f"sqlite:///{project / 'o.db'}"
    assert settings.s3_ca_file == str(project / "ca.pem")
    assert settings.postgresql_ca_file == "system"
    assert settings.tracking_uri == "sqlite:///:memory:"
    os.environ["METSWEEP_STORE"] = "others"
    assert settings_and_origins()[0].store == str(Path.cwd() / "others")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('\nstor = "x"', r":2: stor: unknown key; got 'x'\. Did you mean 'store'\?$"),
        ("[s3]\nendpoint = 'x'", r":1: s3: unknown key\. .*Allowed: cache"),
        ("store = 3", r":1: store: .*valid string; got 3\.$"),
        ('price_gpu_hour = "2"', r":1: price_gpu_hour: .*valid number; got '2'\.$"),
        ("price_cpu_hour = -1", r":1: price_cpu_hour: .*greater than or equal to 0; got -1\.$"),
        ('s3_insecure_tls = "yes"', r":1: s3_insecure_tls: .*valid boolean; got 'yes'\.$"),
        ('s3_encryption = "rot13"', r":1: s3_encryption: .*'AES256', 'aws:kms'.* got 'rot13'\.$"),
        (
            '\n\nstore = "ftp://me:secret@h/x"',
            r":3: store: is not a place for a store; allowed: a folder, or s3://bucket/prefix; got 'ftp://me:\*\*\*@h/x'",
        ),
        (
            '\nray_address = "ray://me:secret@h:1"',
            r":2: ray_address: is an address of Ray Client, .* got 'ray://me:\*\*\*@h:1'\.$",
        ),
        (
            'ray_address = "http://h:8265"',
            r":1: ray_address: is no address of a Ray cluster; .* got 'http://h:8265'\.$",
        ),
        ('ray_address = "head"', r":1: ray_address: is no address of a Ray cluster; .* got 'head'\.$"),
        ('s3_endpoint = "nonsense"', r":1: s3_endpoint: is no URL of a server; .* got 'nonsense'\.$"),
        ('s3_endpoint = "http://h:port"', r":1: s3_endpoint: is no URL of a server; .* got 'http://h:port'\.$"),
        ('metrics_address = "9464"', r":1: metrics_address: is no address; allowed: host:port, .* got '9464'\.$"),
        ('metrics_address = "h:99999"', r":1: metrics_address: is no address; allowed: host:port, .*"),
        ('metrics_address = "h:http"', r":1: metrics_address: is no address; allowed: host:port, .*"),
        ('store = "s3://"', r":1: store: The store s3:// names no bucket; allowed: s3://bucket/prefix; got 's3://'\.$"),
        ('store = "s3://a/x"', r":1: store: The bucket of the store is 'a'; allowed: 3 to 63 .* got 's3://a/x'\.$"),
        ('notify_webhook = "ntfy.sh/secret"', r":1: notify_webhook: is no URL of a webhook; .* is not shown\.$"),
        ('notify_webhook = "https://h/a\\nsecret"', r":1: notify_webhook: is no URL of a webhook; .* is not shown\.$"),
        ('notify_webhook = ["https://h/secret"]', r":1: notify_webhook: is no URL of a webhook; .* is not shown\.$"),
        (
            'notify_webhok = "https://h/secret"',
            r":1: notify_webhok: unknown key; got 'https://h/\*\*\*'\. Did you mean",
        ),
        ('notify_command = "curl \'secret"', r":1: notify_command: is no command; .* is not shown\.$"),
        ('notify_command = ["secret"]', r":1: notify_command: is no command; .* is not shown\.$"),
        ('cache = "s3://b/x"', r":1: cache: is not a folder; got 's3://b/x'\.$"),
        ("store = ", r": not valid TOML: Invalid value"),
        ("store = 'a'\n[[", r": not valid TOML: .*"),
        (f"price_gpu_hour = {'9' * 5000}", r": not valid TOML: "),
        (f"store = {'[' * 5000}", r": not valid TOML: "),
    ],
)
def test_a_wrong_file_is_refused_with_line_and_key(text: str, said: str) -> None:
    file = of_project(text, 0o600)
    with pytest.raises(ConfigError, match=f"^{re.escape(str(file))}{said}") as raised:
        Settings.from_environment()
    assert "secret" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_refused() -> None:
    (Path.cwd().parent / "metsweep.toml").mkdir()
    with pytest.raises(ConfigError, match=r"metsweep.toml cannot be read \(Is a directory\)"):
        Settings.from_environment()


def test_a_password_in_a_file_that_others_may_read_is_refused() -> None:
    text = 'optuna_storage = "postgresql://me:hunter2@h/o"'
    file = of_project(text, 0o640)
    with pytest.raises(ConfigError, match=rf"{file}:1: optuna_storage: holds a password.*`chmod 600 {file}`") as raised:
        Settings.from_environment()
    assert "hunter2" not in str(raised.value)
    of_project(text, 0o600)
    assert "hunter2" in Settings.from_environment().optuna_storage


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('notify_webhook = "https://api.telegram.org/bot1:SECRET/send"', "notify_webhook https://api.telegram.org/***"),
        ('notify_webhook = "https://ntfy.sh/SECRET"', "notify_webhook https://ntfy.sh/***"),
        ('notify_webhook = "https://h?topic=SECRET"', "notify_webhook https://h?***"),
        ('notify_command = "curl -d @- https://ntfy.sh/SECRET"', "notify_command curl -d @- https://ntfy.sh/***"),
    ],
)
def test_the_path_of_a_webhook_is_a_secret(line: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.environ["COLUMNS"] = "400"
    file = of_project(line)
    assert main(["config", "show"]) == 2
    assert (
        f"holds a password, token or path of a webhook, and other users may read the file. Run `chmod 600 {file}`"
        in (printed := capsys.readouterr().err)
    )
    assert "SECRET" not in printed
    of_project(line, 0o600)
    for arguments in (["config", "show"], ["config", "show", "--json"]):
        assert main(arguments) == 0
        printed = capsys.readouterr().out
        assert "SECRET" not in printed
        assert "--json" in arguments or shown in " ".join(printed.replace("│", " ").split())
    Settings.from_environment()
    path = re.split(r"//[^/?\"]+[/?]", line)[1].strip('"')
    assert "SECRET" not in describe(OSError(f"no such path: {path}"))


def test_a_text_of_blanks_in_a_file_counts_as_unset() -> None:
    of_project('ray_address = " "\nstore = ""\ns3_encryption = ""\ns3_region = " eu-1 "')
    settings, origins = settings_and_origins()
    assert (settings.ray_address, settings.s3_encryption, settings.s3_region) == (None, None, "eu-1")
    assert [*origins] == ["s3_region"]


def test_another_users_file_above_the_working_directory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    file = of_project("")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    os.chown(file, 54321, -1)
    with pytest.raises(ConfigError, match="belongs to another user"):
        Settings.from_environment()
    monkeypatch.chdir(file.parent)
    Settings.from_environment()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "METSWEEP_STORE",
            "ftp://me:secret@host/x",
            r"store: is not a place for a store; .*; got 'ftp://me:\*\*\*@host/x'",
        ),
        (
            "METSWEEP_STORE",
            "s3:/bucket/x",
            "store: is not a place for a store; allowed: a folder, or s3://bucket/prefix; got 's3:/bucket/x'",
        ),
        ("METSWEEP_STORE", "S3://bucket/x", "store: is not a place for a store; .*; got 'S3://bucket/x'"),
        ("METSWEEP_STORE", "~nobody-of-that-name/x", "is '~nobody-of-that-name/x': .*whole path"),
        ("MLFLOW_TRACKING_URI", "http://[::1", "tracking_uri: is not a folder, URI or address"),
        ("OPTUNA_STORAGE", "postgresql://me:secret\u2100@host/x", "optuna_storage: is not a folder, URI or address"),
        ("RAY_ADDRESS", "a\nb", "ray_address: contains a control character"),
        ("METSWEEP_STORE", "\udcff", "store: is not a folder, URI or address"),
        ("METSWEEP_PRICE_GPU_HOUR", "much", "price_gpu_hour: .*got 'much'"),
        ("PGSSLMODE", "verify", "postgresql_sslmode: .*'verify-full'; got 'verify'"),
    ],
)
def test_a_bad_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(MetsweepError, match=f"^{name}:? {said}") as raised:
        Settings.from_environment()
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "store", ["a\0b", "a\nb", "\udcff", "http://[::1", "s3:bucket", "file:///x", "~nobody-of-that-name/x"]
)
def test_a_bad_store_of_the_command_line_is_refused(store: str) -> None:
    with pytest.raises(MetsweepError, match=r"^--store"):
        Settings.from_environment(store)


def test_an_empty_store_of_the_command_line_counts_as_none() -> None:
    assert Settings.from_environment(" ") == Settings.from_environment()


def test_libraries_and_child_processes_get_what_files_and_own_variables_set() -> None:
    of_project(
        'registry_uri = "https://r"\nmlflow_ca_file = "/ca.pem"\ns3_insecure_tls = true\ncache = "/cache"\n'
        'postgresql_sslmode = "require"\nray_token_file = "/token"\ns3_region = "eu-1"'
    )
    os.environ["METSWEEP_S3_ENDPOINT"] = "http://s3:1"
    os.environ["AWS_ENDPOINT_URL_S3"] = "http://other:1"
    Settings.from_environment("/store")
    expected = {
        "MLFLOW_REGISTRY_URI": "https://r",
        "MLFLOW_TRACKING_SERVER_CERT_PATH": "/ca.pem",
        "MLFLOW_S3_IGNORE_TLS": "true",
        "PGSSLMODE": "require",
        "RAY_AUTH_TOKEN_PATH": "/token",
        "METSWEEP_CACHE": "/cache",
        "AWS_DEFAULT_REGION": "eu-1",
        "AWS_ENDPOINT_URL_S3": "http://s3:1",
    }
    assert expected.items() <= os.environ.items()
    assert "METSWEEP_STORE" not in os.environ
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_a_node_that_sets_nothing_of_s3_has_the_options_of_the_driver() -> None:
    of_project('s3_endpoint = "http://s3:1"\ns3_encryption = "AES256"\ns3_insecure_tls = true')
    sent = pickle.dumps(Store("s3://bucket/x"))
    of_project('s3_encryption = "aws:kms"\ns3_kms_key = "k"')
    options = pickle.loads(sent).backend.options
    assert (options.endpoint, options.insecure_tls) == ("http://s3:1", True)
    assert options.on_write == {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k"}
    assert "AWS_ENDPOINT_URL_S3" not in os.environ


def test_a_registry_of_its_own(tmp_path: Path, tracking_uri: str, empty_database: Path) -> None:
    registry = tmp_path / "registry.db"
    registry.write_bytes(empty_database.read_bytes())
    of_project(f'tracking_uri = "{tracking_uri}"\nregistry_uri = "sqlite:///{registry}"')
    client = connect(Settings.from_environment().tracking_uri)
    client.create_registered_model("elsewhere")
    assert [model.name for model in client.search_registered_models()] == ["elsewhere"]
    os.environ.pop("MLFLOW_REGISTRY_URI")
    assert not connect(tracking_uri).search_registered_models()


def test_the_command_shows_each_value_with_its_origin(capsys: pytest.CaptureFixture[str]) -> None:
    file = of_project('store = "s3://bucket/x"\ntracking_uri = "https://me:hunter2@mlflow"\nprice_gpu_hour = 1', 0o600)
    os.environ |= {"RAY_ADDRESS": "head:6379", "RAY_AUTH_TOKEN": "hunter2", "COLUMNS": "400"}
    assert main(["config", "show"]) == 0
    shown = capsys.readouterr().out
    for words in (
        f"store s3://bucket/x {file}:1",
        f"tracking_uri https://me:***@mlflow {file}:2",
        f"price_gpu_hour 1.0 {file}:3",
        "ray_address head:6379 RAY_ADDRESS",
        "s3_insecure_tls false default",
        "s3_region - default",
        f"Files read: {file}.",
        "Logins in the environment (values not shown): RAY_AUTH_TOKEN.",
    ):
        assert words in " ".join(shown.replace("│", " ").split())
    assert main(["config", "show", "--json", "--store", "/here"]) == 0
    printed = capsys.readouterr().out
    assert "hunter2" not in shown + printed
    values = {row["name"]: (row["value"], row["from"]) for row in json.loads(printed)["settings"]}
    assert values.keys() == Settings.model_fields.keys()
    assert values["store"] == ("/here", "--store")
    assert values["s3_insecure_tls"] == (False, "default")
    assert values["optuna_storage"] == (f"sqlite:///{Path.cwd() / 'optuna.db'}", "default")


def test_the_table_of_infra_has_every_setting_with_its_variables() -> None:
    text = (ROOT / "infra" / "README.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z0-9_]+)` \| (.*?) \|", text, flags=re.MULTILINE))
    expected = {key: list(variables_of(key)[1:]) for key in Settings.model_fields}
    assert {key: re.findall(r"`(\w+)`", rows.get(key, "missing")) for key in expected} == expected


def test_a_mistyped_variable_is_reported_once_by_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    known = dict.fromkeys((*OTHER_VARIABLES, "METSWEEP_HEAD_SVC_PORT_6379_TCP_ADDR", "METSWEEP_HEAD_SVC_PORT"), "x")
    os.environ |= known | {"METSWEEP_PRICE_CURRENCY": "EUR"}
    assert main(["config", "show"]) == 0
    assert capsys.readouterr().err == ""
    os.environ |= {"METSWEEP_STOR": "x", "METSWEEP_QQQ": "hunter2"}
    for command in (["config", "show", "--json"], ["store", "ls"]):
        main(command)
        said = capsys.readouterr().err
        assert said.count("warning: METSWEEP_STOR is no setting. Did you mean 'METSWEEP_STORE'?\n") == 1
        assert said.count("warning: METSWEEP_QQQ is no setting. `metsweep config show` lists all settings.\n") == 1
        assert "hunter2" not in said


def test_variables_of_infra_are_no_mistyped_settings() -> None:
    text = "".join(file.read_text() for file in (ROOT / "infra").rglob("*") if file.suffix in (".env", ".yaml", ".md"))
    settings = {variables_of(key)[0] for key in Settings.model_fields}
    assert set(re.findall(r"METSWEEP_[A-Z0-9]\w*", text)) <= settings | {*OTHER_VARIABLES}
