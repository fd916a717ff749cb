"""The settings of a user, a project or a machine: where things are kept, and how services are reached.

Each is set, the strongest first, by an option of the command line, `METSWEEP_<NAME>`, the variable by which the library
knows the setting (`VARIABLES`), `metsweep.toml` of the project, and the user's `metsweep.toml`. No setting is needed.
`METSWEEP_<NAME>=default` stands for the default, whatever the weaker sources say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from search_spaces.problems import did_you_mean, explain
from search_spaces.search import Prices
from sweep import settings_sources
from sweep.databases import split_sqlite
from sweep.redaction import without_url_paths
from sweep.setting_values import CommandLine, ListeningAddress, Place, RayAddress, Webhook, WebUrl, bucket_and_prefix
from sweep.settings_sources import Given, working_directory
from trainers.config import Config, Text
from trainers.exceptions import ConfigError

_SCHEME = re.compile(r"s3:|[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""Begins a text that is meant as a URI, not as a folder."""


def _at_home(path: str, source: str) -> str:
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:
        raise ConfigError(f"{source} is {path!r}: {error}. Write the whole path.") from None


class Settings(Config):
    """Read once by each command and passed down."""

    store: Place = Field(default_factory=lambda: str(working_directory() / "metsweep-store"))
    """Folder, or s3://bucket/prefix, of the artifacts; default: `metsweep-store` in the working directory."""
    cache: Place = Field(default_factory=lambda: _at_home("~/.cache/metsweep", "METSWEEP_CACHE"))
    """Folder of this machine for files that can be made again; default: `~/.cache/metsweep`."""
    ray_address: RayAddress | None = None
    """Ray cluster: host:port or auto; default: a Ray of this machine alone, begun by the command."""
    ray_token_file: Place | None = None
    """File with the cluster's token; default: Ray's own, `~/.ray/auth_token`. RAY_AUTH_TOKEN goes before the file."""
    tracking_uri: Place = Field(default_factory=lambda: f"sqlite:///{working_directory() / 'mlflow.db'}")
    """MLflow's tracking server or database; default: `mlflow.db` (SQLite) in the working directory."""
    registry_uri: Place | None = None
    """MLflow's model registry; default: that of the tracking server."""
    mlflow_ca_file: Place | None = None
    """Certificates of the authorities that MLflow's server is trusted by; default: those of Python's certifi."""
    mlflow_insecure_tls: bool = False
    """Whether any certificate of MLflow's server is accepted; for trials only."""
    optuna_storage: Place = Field(default_factory=lambda: f"sqlite:///{working_directory() / 'optuna.db'}")
    """Optuna's database; default: `optuna.db` (SQLite) in the working directory."""
    postgresql_sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = None
    """TLS to PostgreSQL, unless the URI has `sslmode`; default: libpq's, prefer."""
    postgresql_ca_file: Place | None = None
    """Certificates of the authorities that PostgreSQL is trusted by; default: libpq's, `~/.postgresql/root.crt`."""
    s3_endpoint: WebUrl | None = None
    """URL of an S3 server; default: AWS."""
    s3_region: Text | None = None
    """Region of the bucket; default: that of the AWS profile, else us-east-1."""
    s3_encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    """How S3 encrypts what is written, if not as the bucket says."""
    s3_kms_key: Text | None = None
    """Key of KMS for `aws:kms`; default: AWS's own for S3."""
    s3_ca_file: Place | None = None
    """Certificates of the authorities that S3 is trusted by; default: those of botocore."""
    s3_insecure_tls: bool = False
    """Whether any certificate of S3 is accepted; for trials only."""
    price_gpu_hour: float | None = Field(default=None, ge=0)
    """Price of one GPU for an hour, for studies that set no `prices`; default: unknown."""
    price_cpu_hour: float | None = Field(default=None, ge=0)
    """Price of one CPU core for an hour, likewise."""
    price_currency: Text = Field(default="USD", min_length=1)
    """Currency of both."""
    metrics_address: ListeningAddress | None = None
    """host:port of this machine at which a launch serves its metrics to Prometheus; default: nowhere."""
    notify_command: CommandLine | None = None
    """Command that gets the events of a launch as JSON on its standard input; default: none."""
    notify_webhook: Webhook | None = None
    """URL to which the events of a launch are posted as JSON; default: none."""
    notify_stall_minutes: float = Field(default=30.0, gt=0)
    """How long no stage may progress before a launch counts as stalled."""

    @property
    def prices(self) -> Prices:
        """As a study has them."""
        return Prices(gpu_hour=self.price_gpu_hour, cpu_hour=self.price_cpu_hour, currency=self.price_currency)

    @field_validator("store", "cache")
    @classmethod
    def _folder(cls, uri: str, info: ValidationInfo) -> str:
        in_s3 = uri.startswith("s3://") and info.field_name == "store"
        if _SCHEME.match(uri) and not in_s3:
            place = "a place for a store; allowed: a folder, or s3://bucket/prefix"
            raise ValueError(f"is not {place if info.field_name == 'store' else 'a folder'}")
        if in_s3:
            bucket_and_prefix(uri)
        return uri

    @staticmethod
    def from_environment(store: str | None = None) -> Settings:
        """The settings in effect; an explicit `store` (`--store`) goes before all others.

        What files and METSWEEP_* set is put into this process's environment under the libraries' names, for MLflow,
        libpq, boto3 and Ray, and for child processes.

        Raises:
            ConfigError: as `settings_and_origins`.
        """
        settings, origins = settings_and_origins(store)
        for key, names in VARIABLES.items():
            if is_reset(key):
                for name in names:
                    os.environ.pop(name, None)
        for key, value in settings.model_dump(include={*origins}).items():
            if origins[key] != OPTION:
                name = VARIABLES.get(key, variables_of(key))[0]
                os.environ[name] = str(value).lower() if isinstance(value, bool) else str(value)
        return settings


OPTION, DEFAULT = "--store", "default"
SYSTEM = "system"
"""Stands for the system's authorities where libpq expects a file."""
VARIABLES: Mapping[str, tuple[str, ...]] = {
    "ray_address": ("RAY_ADDRESS",),
    "ray_token_file": ("RAY_AUTH_TOKEN_PATH",),
    "tracking_uri": ("MLFLOW_TRACKING_URI",),
    "registry_uri": ("MLFLOW_REGISTRY_URI",),
    "mlflow_ca_file": ("MLFLOW_TRACKING_SERVER_CERT_PATH",),
    "mlflow_insecure_tls": ("MLFLOW_TRACKING_INSECURE_TLS",),
    "optuna_storage": ("OPTUNA_STORAGE",),
    "postgresql_sslmode": ("PGSSLMODE",),
    "postgresql_ca_file": ("PGSSLROOTCERT",),
    "s3_endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "s3_region": ("AWS_DEFAULT_REGION", "AWS_REGION"),
    "s3_ca_file": ("AWS_CA_BUNDLE",),
    "s3_insecure_tls": ("MLFLOW_S3_IGNORE_TLS",),
}
"""Setting -> the libraries' names of it, the strongest first; METSWEEP_<NAME> goes before them."""


def variables_of(key: str) -> tuple[str, ...]:
    """The variables of a setting, the strongest first."""
    return (f"METSWEEP_{key.upper()}", *VARIABLES.get(key, ()))


OTHER_VARIABLES = ("METSWEEP_CPU_IMAGE", "METSWEEP_CUDA_IMAGE", "METSWEEP_EVENT", "METSWEEP_STUDY")
"""Variables that begin like settings: of infra/versions.env, and those that `notify_command` gets."""
_OF_KUBERNETES = re.compile(r"_(SERVICE_HOST|(SERVICE_)?PORT(_\w+)?)$")
"""Ends of the variables that a pod gets for each service, such as KubeRay's metsweep-head-svc."""


def unknown_variables() -> list[str]:
    """A sentence on each variable that begins like a setting and is none: mistyped, it would have no effect."""
    keys = [key.upper() for key in Settings.model_fields]
    known = {*OTHER_VARIABLES, *(f"METSWEEP_{key}" for key in keys)}
    sentences = []
    for name in sorted(os.environ):
        if name.startswith("METSWEEP_") and name not in known and not _OF_KUBERNETES.search(name):
            meant = did_you_mean(name.removeprefix("METSWEEP_"), keys).replace("'", "'METSWEEP_", 1)
            sentences.append(f"{name} is no setting.{meant or ' `metsweep config show` lists all settings.'}")
    return sentences


def is_reset(key: str) -> bool:
    """Whether METSWEEP_<NAME> asks for the default of a setting."""
    return os.environ.get(variables_of(key)[0], "").strip() == DEFAULT


def settings_and_origins(store: str | None = None) -> tuple[Settings, dict[str, str]]:
    """The settings in effect, and where each that is not a default comes from; changes nothing.

    Args:
        store: value of `--store`.

    Raises:
        ConfigError: a file, variable or option is wrong; names file and line, variable or option, and what is allowed.
    """
    given: dict[str, Given] = {}
    for file in settings_sources.settings_files():
        given |= settings_sources.from_file(file, Settings)
    given |= settings_sources.from_environment({key: variables_of(key) for key in Settings.model_fields})
    given = {key: value for key, value in given.items() if not is_reset(key)}
    if store and store.strip():
        given["store"] = Given(store.strip(), OPTION, working_directory())
    try:
        settings = Settings.model_validate({key: _located(key, value) for key, value in given.items()})
    except ValidationError as error:
        text = explain(lambda path: given[str(path[0])].source, error, model=Settings)
        raise ConfigError(without_url_paths(text)) from None
    return settings, {key: value.source for key, value in given.items()}


def _located(key: str, given: Given) -> Any:
    """A value whose path, if it has one, is absolute."""
    value = given.value
    if not isinstance(value, str):
        return value
    prefix, path = split_sqlite(value)
    if path.startswith("~"):
        path = _at_home(path, given.source)
    is_file = prefix and not path.startswith((":", "file:"))
    is_path = key in ("store", "cache") or key.endswith("_file")
    if is_file or (is_path and not _SCHEME.match(path) and path != SYSTEM):
        path = os.path.join(given.folder, path)
    return prefix + path


def cache_folder() -> Path:
    """The setting `cache`.

    Raises:
        ConfigError: as `settings_and_origins`.
    """
    return Path(settings_and_origins()[0].cache)
