"""The embedded servers: start anywhere, survive any crash, and let nobody in without a password."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
import redis

from capsule_cloud.lib import embedded
from capsule_cloud.lib.embedded import binaries, places, roles, server

FAST = {"fsync": "off", "shared_buffers": "16MB", "max_connections": "20"}
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty data folder that the unprivileged servers can reach (pytest's own are private)."""
    base = places.ROOT_HOME if os.geteuid() == 0 else Path("/tmp")  # noqa: S108
    path = base / f"t-{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("CAPSULE_DATA_DIR", str(path))
    yield path
    subprocess.run(["rm", "-rf", str(path), str(places.run_dir(path))], check=True)


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A data folder with a cluster that nothing has run on."""
    base = places.ROOT_HOME if os.geteuid() == 0 else Path("/tmp")  # noqa: S108
    path = base / f"t-{uuid.uuid4().hex[:12]}"
    with embedded.Postgres(path, FAST):
        pass
    yield path
    subprocess.run(["rm", "-rf", str(path), str(places.run_dir(path))], check=True)


@pytest.fixture
def cluster(made: Path, folder: Path) -> Path:
    """A data folder like `folder` whose cluster is made already: initdb takes longer than what most tests ask."""
    folder.mkdir(mode=0o711, parents=True)
    subprocess.run(["cp", "--archive", str(made / "secrets.json"), str(made / "postgres"), str(folder)], check=True)
    return folder


def rows(url: str, statement: LiteralString, database: str = places.DATABASE) -> list[tuple[object, ...]]:
    """What the statement answers on a connection of its own."""
    with psycopg.connect(url, dbname=database) as connection:
        return connection.execute(statement).fetchall()


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true within ten seconds."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def is_gone(pid: int) -> bool:
    """Whether the process has ended (a zombie has)."""
    return not server.command_line(pid)


def test_the_data_folder_can_be_chosen(folder: Path) -> None:
    assert embedded.data_dir() == folder
    assert f"{folder}/run" in embedded.urls().broker


def test_each_clone_has_a_data_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAPSULE_DATA_DIR")
    here = embedded.data_dir()
    monkeypatch.setattr(places, "REPOSITORY", Path("/somewhere/else"))
    assert embedded.data_dir() != here


def test_addresses_are_pure_and_stay_the_same(folder: Path) -> None:
    assert embedded.urls() == embedded.urls()
    assert sorted(path.name for path in folder.iterdir()) == ["secrets.json"]


def test_secrets_are_made_once_and_are_private(folder: Path) -> None:
    first = embedded.secret("SECRET_KEY")
    assert first == embedded.secret("SECRET_KEY") != embedded.secret("API_KEY_PEPPER")
    assert (folder / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_processes_that_race_for_a_new_secret_agree(folder: Path) -> None:
    script = "from capsule_cloud.lib import embedded; print(embedded.secret('RACE'))"
    command = [sys.executable, "-c", script]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) for _ in range(4)]
    assert len({racer.communicate()[0] for racer in racers}) == 1
    assert "RACE" in json.loads((folder / "secrets.json").read_text())


def test_socket_paths_fit_whatever_the_data_folder_is_called() -> None:
    deep = Path("/var/lib") / ("x" * 90) / "y"
    assert len(f"{places.run_dir(deep)}/.s.PGSQL.5432.lock") < 108
    assert places.run_dir(deep) != places.run_dir(deep / "z")


def test_postgres_and_valkey_start_answer_and_stop(folder: Path) -> None:
    with embedded.Valkey(folder) as valkey, embedded.Postgres(folder, FAST) as postgres:
        urls = embedded.urls()
        embedded.provision(urls.superuser, places.DATABASE)
        assert rows(urls.app, "SELECT current_user::text") == [("capsule_app",)]
        with redis.Redis.from_url(urls.cache) as client:
            assert client.ping()
        assert valkey.child
        assert postgres.child
        pids = valkey.child.pid, postgres.child.pid
    assert all(is_gone(pid) for pid in pids)


def test_a_wrong_password_and_no_password_are_refused(cluster: Path) -> None:
    with embedded.Postgres(cluster, FAST) as postgres:
        for password in ("wrong", ""):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(host=str(postgres.sockets), user="postgres", dbname="postgres", password=password)


def test_provisioning_twice_changes_nothing_and_the_application_role_is_powerless(cluster: Path) -> None:
    with embedded.Postgres(cluster, FAST):
        urls = embedded.urls()
        for _ in range(2):
            embedded.provision(urls.superuser, places.DATABASE)
        powers = rows(
            urls.superuser,
            "SELECT rolname::text, rolsuper, rolbypassrls, rolcanlogin"
            " FROM pg_roles WHERE rolname ~ '^capsule' ORDER BY rolname",
        )
        assert powers == [
            ("capsule_app", False, False, True),
            ("capsule_definer", False, True, False),
            ("capsule_owner", False, False, True),
        ]
        extensions = {str(name) for (name,) in rows(urls.superuser, "SELECT extname::text FROM pg_extension")}
        assert {"vector", "btree_gin", "pg_trgm", "pg_stat_statements"} <= extensions
        with psycopg.connect(urls.owner) as owner:
            owner.execute("CREATE TABLE thing (id int); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        with psycopg.connect(urls.app, autocommit=True) as app:
            app.execute("INSERT INTO thing VALUES (1)")
            for statement in ("CREATE TABLE mine (id int)", "TRUNCATE thing", "DROP TABLE thing", "SELECT f()"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    app.execute(statement)


def test_no_password_reaches_the_log(cluster: Path) -> None:
    with embedded.Postgres(cluster, {**FAST, "log_statement": "all"}):
        embedded.provision(embedded.urls().superuser, places.DATABASE)
    log = (cluster / "postgres.log").read_text()
    assert "ALTER ROLE" in log
    assert all(embedded.secret(f"password of {role}") not in log for role in (places.OWNER_ROLE, places.APP_ROLE))


def test_a_second_start_on_the_same_folder_is_refused_and_names_the_holder(cluster: Path) -> None:
    with (
        embedded.Postgres(cluster, FAST),
        pytest.raises(embedded.AlreadyRunning, match=rf"process {os.getpid()}"),
        embedded.Postgres(cluster, FAST),
    ):
        pass


@pytest.mark.parametrize("victim", ["postgres", "valkey"])
def test_a_killed_server_comes_back_with_what_it_acknowledged(cluster: Path, victim: str) -> None:
    durable = {**FAST, "fsync": "on"}
    with embedded.Postgres(cluster, durable) as postgres, embedded.Valkey(cluster) as valkey:
        urls = embedded.urls()
        embedded.provision(urls.superuser, places.DATABASE)
        with psycopg.connect(urls.owner) as owner:
            owner.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000)")
        with redis.Redis.from_url(urls.cache) as client:
            client.set("kept", "yes")
        killed = {"postgres": postgres, "valkey": valkey}[victim].child
        assert killed
        os.kill(killed.pid, signal.SIGKILL)
        assert eventually(lambda: not killed.is_running())
    with embedded.Postgres(cluster, durable), embedded.Valkey(cluster):
        assert rows(urls.owner, "SELECT count(*) FROM kept") == [(1000,)]
        with redis.Redis.from_url(urls.cache) as client:
            assert client.get("kept") == b"yes"


def test_servers_end_when_their_parent_is_killed_and_the_next_start_waits_for_that(cluster: Path) -> None:
    script = (
        "import time; from capsule_cloud.lib import embedded; d = embedded.data_dir()\n"
        "with embedded.Valkey(d) as v, embedded.Postgres(d) as p:\n"
        "    print(v.child.pid, p.child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert parent.stdout
    pids = [int(word) for word in parent.stdout.readline().split()]
    parent.kill()
    parent.communicate()
    with embedded.Valkey(cluster), embedded.Postgres(cluster, FAST):
        assert all(is_gone(pid) for pid in pids)
    assert "database system is shut down" in (cluster / "postgres.log").read_text()


def test_a_stale_lock_whose_number_now_belongs_to_another_process_is_seen_through(cluster: Path) -> None:
    with embedded.Postgres(cluster, FAST) as postgres:
        pass
    stale = postgres.cluster / "postmaster.pid"
    bystander = subprocess.Popen(["sleep", "60"], user=server.SERVER_UID)
    try:
        stale.write_text(f"{bystander.pid}\n{postgres.cluster}\n1\n5432\n{postgres.sockets}\n\n0 0\n")
        with embedded.Postgres(cluster, FAST):
            assert rows(embedded.urls().superuser, "SELECT 1", "postgres") == [(1,)]
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_an_interrupted_first_start_is_made_again(folder: Path) -> None:
    unfinished = folder / "postgres" / "unfinished" / "base"
    unfinished.mkdir(parents=True)
    with embedded.Postgres(folder, FAST):
        assert rows(embedded.urls().superuser, "SELECT 1", "postgres") == [(1,)]


def test_a_cluster_of_another_major_version_is_refused_with_the_way_to_upgrade(folder: Path) -> None:
    cluster = folder / "postgres" / "data"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("17\n")
    with (
        pytest.raises(embedded.CannotServe, match=r"made by PostgreSQL 17.*pg_upgrade --link"),
        embedded.Postgres(folder),
    ):
        pass
    with embedded.Postgres(folder / "other", FAST):  # and the refusal kept no lock
        pass


def test_binaries_of_another_major_version_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "postgres"
    fake.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 15.8'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("CAPSULE_PG_BIN", str(tmp_path))
    with pytest.raises(embedded.CannotServe, match="is not PostgreSQL 18"):
        binaries.postgres_bin()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the servers to another user")
def test_root_never_runs_a_server_as_root_even_from_a_private_installation(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not binaries.is_readable_by_everyone(tmp_path)
    monkeypatch.setattr(binaries, "is_readable_by_everyone", lambda path: path.is_relative_to(places.ROOT_HOME))
    monkeypatch.setattr(binaries, "_SHARED", folder / "binaries")
    with embedded.Postgres(folder, FAST) as postgres, embedded.Valkey(folder) as valkey:
        for child in (postgres.child, valkey.child):
            assert child
            assert Path(child.program.argv[0]).is_relative_to(folder)
            assert Path(f"/proc/{child.pid}").stat().st_uid == server.SERVER_UID


@pytest.mark.skipif(os.geteuid() != 0, reason="everybody else runs the servers as themselves")
def test_a_data_folder_that_nobody_can_reach_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(embedded.CannotServe, match="set CAPSULE_DATA_DIR"), embedded.Valkey(tmp_path / "data"):
        pass


def test_the_roles_file_exists_where_operators_look() -> None:
    assert Path(roles.ROLES_SQL).relative_to(REPOSITORY) == Path("infra/database/roles.sql")
