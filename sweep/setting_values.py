"""What the value of a setting may be: checks that return the value, or raise a ValueError that says what is allowed."""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator

from sweep.redaction import without_secrets
from trainers.config import one_line
from trainers.documents import shown

LONGEST_PREFIX = 600
"""Bytes of a store's prefix; stage, key, publication and the name of a file follow it."""
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_NOT_SHOWN = "what was got may hold a password and is not shown"


def place(text: str) -> str:
    """A folder, file, URI or address."""
    try:
        text.encode()
        urlsplit(text)
    except ValueError:
        raise ValueError(f"is not a folder, URI or address; {_NOT_SHOWN}") from None
    if not text.isprintable():
        raise ValueError("contains a control character; allowed: one line of text")
    return text


def host_and_port(text: str) -> tuple[str, int]:
    """Of `host:port`; an IPv6 address stands in brackets."""
    parts = urlsplit(f"//{text}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or not port or parts.netloc != text or "@" in text:
        raise ValueError("is no address; allowed: host:port, with a port from 1 to 65535")
    return parts.hostname, port


def bucket_and_prefix(uri: str) -> tuple[str, str]:
    """Bucket and prefix of `s3://bucket/prefix`; the prefix may be empty."""
    bucket, _, prefix = uri.removeprefix("s3://").rstrip("/").partition("/")
    if not bucket:
        raise ValueError(f"The store {uri} names no bucket; allowed: s3://bucket/prefix")
    if "@" in bucket or "?" in uri:
        raise ValueError(
            f"The store {without_secrets(uri)} holds more than s3://bucket/prefix. Endpoint and credentials come from "
            "the environment (AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)"
        )
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(
            f"The bucket of the store is {shown(bucket)}; allowed: 3 to 63 letters, digits, dots, hyphens and "
            "underscores, with a letter or digit at either end"
        )
    if (size := len(prefix.encode())) > LONGEST_PREFIX:
        raise ValueError(
            f"The prefix of the store s3://{bucket}/{shown(prefix)[1:-1]} has {size} bytes; allowed: up to "
            f"{LONGEST_PREFIX}, as a name in S3 has up to 1,024"
        )
    return bucket, prefix


def _listening_address(text: str) -> str:
    host_and_port(text)
    return text


def _ray_address(text: str) -> str:
    if text in ("auto", "local"):
        return text
    if text.lower().startswith("ray://"):
        # Ray Tune would move to the cluster, away from the search, the store and the databases of this process.
        raise ValueError(
            "is an address of Ray Client, through which no study can run. On a machine of the cluster set RAY_ADDRESS "
            "to host:6379 of the head. From elsewhere unset RAY_ADDRESS (or set METSWEEP_RAY_ADDRESS=default), and "
            "submit the study: metsweep launch STUDY --cluster http://HEAD:8265"
        )
    try:
        host_and_port(text)
    except ValueError:
        raise ValueError(
            "is no address of a Ray cluster; allowed: host:port of the head (6379, not the dashboard's port), auto, or "
            "unset"
        ) from None
    return text


def _web_url(text: str) -> str:
    parts = urlsplit(text)
    try:
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and " " not in text
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("is no URL of a server; allowed: http://host:port or https://host")
    return text


def _webhook(value: Any) -> str:
    try:
        return _web_url(place(value))
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"is no URL of a webhook; allowed: http://... or https://...; {_NOT_SHOWN}") from None


def _command(value: Any) -> str:
    try:
        if shlex.split(one_line(value)) and len(value) <= 4096:
            return value
    except (AttributeError, TypeError, ValueError):
        pass
    raise ValueError(f"is no command; allowed: one line with a program and arguments, quotes closed; {_NOT_SHOWN}")


Place = Annotated[str, AfterValidator(place)]
ListeningAddress = Annotated[Place, AfterValidator(_listening_address)]
RayAddress = Annotated[Place, AfterValidator(_ray_address)]
WebUrl = Annotated[Place, AfterValidator(_web_url)]
# Before pydantic's own checks, whose messages show the value.
Webhook = Annotated[str, BeforeValidator(_webhook)]
CommandLine = Annotated[str, BeforeValidator(_command)]
