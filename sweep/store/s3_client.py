"""The connection to S3, and the meaning of its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

import boto3.session
import botocore.session
from boto3.exceptions import Boto3Error
from botocore.config import Config as ClientConfig
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)
from botocore.exceptions import ConnectionError as NoConnection
from botocore.utils import parse_timestamp

from sweep.redaction import without_secrets
from sweep.settings import settings_and_origins
from sweep.store.backend import Unavailable
from trainers.exceptions import StoreError

CONNECT_S, ANSWER_S = 5, 20
"""How long a connection and an answer may take."""
CREDENTIALS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE)"
ENDPOINT = "AWS_ENDPOINT_URL_S3"
OVERLOADED = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "OperationAborted"}
CONDITION = {"PreconditionFailed", "ConditionalRequestConflict"}
MISSING = {"NoSuchKey", "404", "NotFound"}
DENIED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "Forbidden", "403", "ExpiredToken"}
AWAY = (NoConnection, HTTPClientError, IncompleteReadError)


@dataclass(frozen=True)
class S3Options:
    """How S3 is reached and what it does with objects; holds no credentials, so that it may go to other machines."""

    endpoint: str | None
    region: str | None
    encryption: str | None
    kms_key: str | None
    ca_file: str | None
    insecure_tls: bool

    @staticmethod
    def here(otherwise: S3Options | None = None) -> S3Options:
        """The settings of this machine; what they leave open is as in `otherwise`, e.g. on the driver's machine."""
        settings, _ = settings_and_origins()
        set_here = {field.name: getattr(settings, f"s3_{field.name}") for field in fields(S3Options)}
        passed = {} if otherwise is None else asdict(otherwise)
        return S3Options(**{name: value or passed.get(name, value) for name, value in set_here.items()})

    @property
    def on_write(self) -> dict[str, str]:
        """Parameters of each request that makes an object."""
        parameters = {"ServerSideEncryption": self.encryption, "SSEKMSKeyId": self.kms_key}
        return {name: value for name, value in parameters.items() if value is not None}


def connect(options: S3Options) -> Any:
    """A client with the environment's credentials, which threads may share; StoreError where the endpoint is no URL."""
    inner = botocore.session.get_session()
    inner.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=time_of)
    session = boto3.session.Session(botocore_session=inner)
    config = ClientConfig(
        connect_timeout=CONNECT_S,
        read_timeout=ANSWER_S,
        retries={"total_max_attempts": 2, "mode": "standard"},
        max_pool_connections=32,
        # Self-hosted servers seldom have a host name per bucket.
        s3={"addressing_style": "path"} if options.endpoint else {},
    )
    region = options.region or session.region_name or "us-east-1"
    verify = False if options.insecure_tls else options.ca_file
    try:
        return session.client("s3", region, endpoint_url=options.endpoint, verify=verify, config=config)
    except ValueError:
        raise StoreError(
            f"{ENDPOINT} is {without_secrets(options.endpoint)}, which is no URL. Correct it, or unset it to use AWS."
        ) from None


def time_of(value: Any) -> datetime:
    """A time stamp of an answer: botocore's own parser takes half the time of a listing."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):  # seconds, or the form of an HTTP header
        return parse_timestamp(value)


def code_of(error: ClientError) -> str:
    """S3's code of the error."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turns errors of boto3 within the block into Unavailable or a StoreError that says where."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError):
        raise StoreError(f"There are no credentials for {where}. Set {CREDENTIALS}.") from None
    except SSLError:
        raise StoreError(
            f"The certificate of {where} is not trusted. Set AWS_CA_BUNDLE to its authority's file, or correct "
            f"{ENDPOINT}."
        ) from None
    except AWAY as error:
        raise _away(error, where) from None
    except ClientError as error:
        raise _meaning(error, where) from None
    except (Boto3Error, BotoCoreError) as error:
        # boto3's transfers wrap the cause.
        cause = error.__cause__ or error.__context__
        if isinstance(cause, ClientError):
            raise _meaning(cause, where) from None
        if isinstance(cause, AWAY):
            raise _away(cause, where) from None
        raise StoreError(f"S3 cannot be used: {where} ({type(error).__name__}: {without_secrets(error)}).") from None


def _away(error: Exception, where: str) -> Unavailable:
    return Unavailable(f"S3 does not answer: {where} ({type(error).__name__}). Check {ENDPOINT}.")


def _meaning(error: ClientError, where: str) -> Exception:
    code, status = code_of(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status >= 500 or code in OVERLOADED:
        return Unavailable(f"S3 answers {status} {code}: {where}.")
    if code == "NoSuchBucket":
        return StoreError(
            f"There is no {where}. Create the bucket, set METSWEEP_STORE (--store) to another s3://bucket/prefix, or "
            f"set {ENDPOINT} to the bucket's server."
        )
    if code in DENIED:
        return StoreError(
            f"S3 refuses the credentials for {where} ({code}). Correct {CREDENTIALS}, or the bucket's policy."
        )
    return StoreError(f"S3 refuses a request for {where} ({status} {code}). Check METSWEEP_STORE and {ENDPOINT}.")
