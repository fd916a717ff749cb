"""What is masked in a URI, and in a text that a library made of one."""

from __future__ import annotations

import json
import logging
import time

import pytest

from sweep.logs import JsonFormatter
from sweep.redaction import without_secrets

SHOWN = {
    "https://hooks.example.org/services/T0/B0/XyZ": "https://hooks.example.org/services/***",
    "https://chat.example.org/api/webhooks/123/XyZ?wait=1": "https://chat.example.org/api/webhooks/***",
    "http://reader:pw@mlflow.example:5000/x": "http://reader:***@mlflow.example:5000/x",
    "https://ghp_token@mlflow.example": "https://***@mlflow.example",
    "HTTPS://u:p@h": "HTTPS://u:***@h",
    "ray://u:p@head:10001?token=x": "ray://u:***@head:10001?token=***",
    "s3://key:secret@bucket/prefix": "s3://key:***@bucket/prefix",
    "postgresql://me@h/db": "postgresql://me@h/db",
    "postgresql+psycopg2://u:p%40ss@[::1]:5432/db": "postgresql+psycopg2://u:***@[::1]:5432/db",
    "postgresql://u:p/a?s@s@h/db?options=a@b": "postgresql://u:***@h/db?options=a@b",
    "postgresql:///db?host=/run&user=u&password=p;q": "postgresql:///db?host=/run&user=u&password=***",
    "postgresql://h/db?sslpassword=p&passfile=/p&sslmode=require&PWD=p": (
        "postgresql://h/db?sslpassword=***&passfile=/p&sslmode=require&PWD=***"
    ),
    "https://h/p?X-Amz-Signature=a&X-Amz-Credential=b&X-Amz-Date=1#top": (
        "https://h/p?X-Amz-Signature=***&X-Amz-Credential=***&X-Amz-Date=1#top"
    ),
    "https://h/p?api-key=a&key=b&pw=c&sas=d&jwt=e&keyspace=f#token=g": (
        "https://h/p?api-key=***&key=***&pw=***&sas=***&jwt=***&keyspace=f#token=***"
    ),
    "mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3Dp": "mssql+pyodbc:///?odbc_connect=***",
    "postgresql://h/db?options=-c%20password%3Dp": "postgresql://h/db?options=***",
    "postgresql://h/db?options=-c%20geqo%3Doff": "postgresql://h/db?options=-c%20geqo%3Doff",
    'mysql://h/db?ssl={"ca":"/ca","password":"p"}&x=1': "mysql://h/db?ssl=***&x=1",
    "http://h:5000/x?mail=a@b": "http://h:5000/x?mail=a@b",
    "https://h/p?private_key=a&AccountKey=b": "https://h/p?private_key=***&AccountKey=***",
    "sqlite:////tmp/a@b/mlflow.db": "sqlite:////tmp/a@b/mlflow.db",
    "/tmp/store?x": "/tmp/store?x",
    "auto": "auto",
}


@pytest.mark.parametrize("uri", SHOWN)
def test_passwords_and_tokens_of_a_uri(uri: str) -> None:
    assert without_secrets(uri) == SHOWN[uri]


def test_a_text_keeps_all_else() -> None:
    text = "Could not parse 'mysql://u:p@h/db?password=x', nor (http://h?token=abc). Is it right: a=b@c?"
    assert without_secrets(text) == (
        "Could not parse 'mysql://u:***@h/db?password=***', nor (http://h?token=***). Is it right: a=b@c?"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("host=db user=me password=S3CR3T dbname=x", "host=db user=me password=*** dbname=x"),
        ("'host=db password=S3CR3T', which is", "'host=db password=***', which is"),
        (r"password = 'S3CR3T it\'s S3CR3T' user=me", "password = *** user=me"),
        ('dsn="host=db password=S3CR3T"', 'dsn="host=db password=***"'),
        ("host=db sslpassword=S3CR3T,S3CR3T.", "host=db sslpassword=***."),
        ("private_key=S3CR3T", "private_key=***"),
        ("AccountName=a;AccountKey=S3CR3T==", "AccountName=a;AccountKey=***"),
        ("AccountKey=S3CR3T==;EndpointSuffix=x", "AccountKey=***"),
        ("AWS_SECRET_ACCESS_KEY=S3CR3T notify", "AWS_SECRET_ACCESS_KEY=*** notify"),
        ('curl -H "Authorization: Bearer S3CR3T" https://x/y', 'curl -H "Authorization: ***" https://x/y'),
        ("curl -H 'X-Api-Key:S3CR3T'", "curl -H 'X-Api-Key:***'"),
        ("{'authorization': 'Basic S3CR3T'}", "{'authorization': '***'}"),
        ("passfile=/p keyspace=f key=runs/1 compass=3 author=x tokenless: password: missing", None),
    ],
)
def test_secrets_outside_a_uri(text: str, shown: str | None) -> None:
    assert without_secrets(text) == (shown or text)
    assert without_secrets(without_secrets(text)) == without_secrets(text)


def test_the_password_of_a_dsn_is_masked_wherever_a_library_says_it() -> None:
    assert without_secrets("bad S3CR3T", "host=db password='S3CR3T'") == "bad ***"


@pytest.mark.parametrize("word", ["token", "a=", "x-", "authorization", "'", "pass ", "Authorization:"])
def test_long_texts_take_no_long_time(word: str) -> None:
    began = time.perf_counter()
    without_secrets(word * 20_000)
    assert time.perf_counter() - began < 10


def test_what_a_library_says_in_its_own_words() -> None:
    error = ValueError('connection to "h" failed: password=p@ss, p%40ss, ssl t0ken')
    shown = without_secrets(error, "postgresql://u:p%40ss@h/db?sslpassword=t0ken")
    assert shown == 'connection to "h" failed: password=***, ***, ssl ***'


def test_lines_of_the_log_with_their_tracebacks() -> None:
    uri = "mysql://u:a-secret@h/db?password=a-secret"
    try:
        raise OSError(f"cannot reach {uri}")
    except OSError as error:
        record = logging.LogRecord("sweep", logging.WARNING, "", 1, "away: %s", (uri,), (OSError, error, None))
        record.place, record.error = uri, error
        line = JsonFormatter().format(record)
    assert "a-secret" not in line
    assert json.loads(line)["place"] == "mysql://u:***@h/db?password=***"
    assert "cannot reach mysql://u:***@h/db" in json.loads(line)["traceback"]
