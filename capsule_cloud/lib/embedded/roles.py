"""Creates the database and its roles on a PostgreSQL server: idempotent, for development, tests and operators."""

import psycopg
from psycopg import sql

from capsule_cloud.lib.embedded.places import APP_ROLE, OWNER_ROLE, REPOSITORY, secret

ROLES_SQL = REPOSITORY / "infra" / "database" / "roles.sql"
_ONE_AT_A_TIME = 7_213_405  # an advisory lock: roles are shared by all databases of a server


def provision(superuser_url: str, database: str) -> None:
    """Create `database` if missing, run `infra/database/roles.sql` in it, and set the passwords of `urls()`.

    The owner may create databases, because tests copy theirs from a template. Safe to repeat and to run in parallel.
    """
    with psycopg.connect(superuser_url, dbname="postgres", autocommit=True) as server:
        server.execute("SELECT pg_advisory_lock(%s)", [_ONE_AT_A_TIME])
        if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
            server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        with psycopg.connect(superuser_url, dbname=database, autocommit=True) as inside:
            inside.execute(ROLES_SQL.read_bytes())
            inside.execute(sql.SQL("ALTER ROLE {} CREATEDB").format(sql.Identifier(OWNER_ROLE)))
            for role in (OWNER_ROLE, APP_ROLE):
                _set_password(inside, role)


def _set_password(connection: psycopg.Connection, role: str) -> None:
    """Store the role's password as a verifier computed here, so that the server's log cannot hold it."""
    password = secret(f"password of {role}").encode()
    verifier = connection.pgconn.encrypt_password(password, role.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier)))
