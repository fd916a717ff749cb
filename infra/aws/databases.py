"""On the head: writes ~/.pgpass from the database's secret, and makes Optuna's database beside MLflow's.

python databases.py HOST SECRET
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import boto3
import psycopg2


def write_password(host: str, secret: str) -> str:
    """Write ~/.pgpass, which libpq reads, for this user alone; the name of the database's user.

    So no URI, variable or argument holds the password.
    """
    content = boto3.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"]
    login = json.loads(content)
    file = Path.home() / ".pgpass"
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(f"{host}:*:*:{login['username']}:{login['password']}\n")
    return login["username"]


def make_database(host: str, user: str, name: str) -> None:
    """Make a database unless it exists."""
    connection = psycopg2.connect(host=host, user=user, dbname="mlflow", connect_timeout=10)
    connection.autocommit = True  # PostgreSQL makes no database within a transaction
    with connection.cursor() as cursor:
        cursor.execute("select 1 from pg_database where datname = %s", (name,))
        if cursor.fetchone() is None:
            cursor.execute(f"create database {name}")
    connection.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    make_database(sys.argv[1], write_password(sys.argv[1], sys.argv[2]), "optuna")
