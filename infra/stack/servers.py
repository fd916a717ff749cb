"""The servers of the stack, with what each needs of the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from infra.stack import postgresql, ray_head, seaweedfs
from infra.stack.credentials import Credentials
from infra.stack.mlflow_server import mlflow_server_with_logins
from infra.stack.pages import optuna_dashboard, prometheus
from infra.stack.ports import SEAWEEDFS
from infra.stack.service import Service
from infra.stack.variables import OF_LAUNCHES, pointing


def servers(folder: Path, run: Path, ports: Mapping[str, int], credentials: Credentials) -> list[list[Service]]:
    """In waves: each needs those before.

    Args:
        folder: of the stack.
        run: folder of Ray's sessions and of temporary files.
        ports: those of `PORTS`.
        credentials: of each server.
    """
    temporary = {"TMPDIR": str(run / "tmp")}
    user = user_of(credentials)
    admin = seaweedfs.Identity.admin(credentials.s3_admin_key, credentials.s3_admin_secret)
    s3 = user.environment(ports["seaweedfs-s3"])
    mlflow, logins, optuna = (postgresql.database_uri(ports["postgresql"], name) for name in postgresql.DATABASES)
    # Tasks and jobs read the user's files, too; their Ray is the one that they run on.
    places = {
        "cache": str(folder / "cache"),
        "s3_endpoint": s3["AWS_ENDPOINT_URL_S3"],
        "s3_region": seaweedfs.REGION,
    }
    settings = pointing(places, left=(*OF_LAUNCHES, "ray_"))
    tasks = {**temporary, **{name: value for name, value in settings.items() if value is not None}, **s3}
    mlflow_keys = {
        **temporary, **s3, "MLFLOW_S3_ENDPOINT_URL": s3["AWS_ENDPOINT_URL_S3"], "PGPASSWORD": credentials.postgresql
    }  # fmt: skip
    scraper = prometheus(
        folder / "prometheus", ports["prometheus"], ports["ray-dashboard"],
        ray_head.token_file(folder / "ray"), temporary,
    )  # fmt: skip
    if scraper is not None:
        tasks["RAY_PROMETHEUS_HOST"] = scraper.address
    return [
        [
            postgresql.postgresql(folder / "postgresql", ports["postgresql"], credentials),
            seaweedfs.seaweedfs(folder / "seaweedfs", [ports[name] for name in SEAWEEDFS], admin, user),
        ],
        # Alone: a Ray that is not up within 30 s gives up.
        [
            ray_head.ray_head(folder / "ray", run / ray_head.SESSIONS, ports, credentials.ray_token, tasks),
        ],
        [
            mlflow_server_with_logins(
                folder / "mlflow", ports["mlflow"], (mlflow, logins), f"s3://{seaweedfs.BUCKET}/mlflow",
                credentials.mlflow, credentials.mlflow_session, mlflow_keys,
            ),
            optuna_dashboard(
                folder / "optuna-dashboard", ports["optuna"], optuna, credentials.postgresql, temporary,
            ),
            *([scraper] if scraper else []),
        ],
    ]  # fmt: skip


def user_of(credentials: Credentials) -> seaweedfs.Identity:
    """The identity of S3 that studies use."""
    return seaweedfs.Identity.user(credentials.s3_key, credentials.s3_secret)
