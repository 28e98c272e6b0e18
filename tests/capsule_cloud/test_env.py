"""Settings are read from the environment, whole or not at all."""

from urllib.parse import quote

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from capsule_cloud import env

NAME = "A_SETTING_OF_THE_TEST"


def test_a_database_s_url_is_taken_apart_with_its_options() -> None:
    address = env.database(
        "postgresql://us%40er:p%2Fw@db.example.com:6432/na%20me?sslmode=verify-full&connect_timeout=3"
    )
    assert (address.user, address.password, address.host, address.port) == ("us@er", "p/w", "db.example.com", "6432")
    assert address.name == "na me"
    assert address.options == {"sslmode": "verify-full", "connect_timeout": "3"}


def test_a_socket_s_folder_and_port_are_in_the_query() -> None:
    address = env.database("postgresql://user@/name?host=/var/run/Post&port=5433")
    assert (address.host, address.port, address.options) == ("/var/run/Post", "5433", {})


@pytest.mark.parametrize(
    "url", ["", "name", "mysql://h/name", "postgresql://h", "postgresql://h:x/name", "postgres://h/"]
)
def test_what_is_no_database_s_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        env.database(url)
    assert not url or f"{url!r}" not in str(refusal.value)


@given(user=st.text(min_size=1, max_size=20), password=st.text(max_size=20), name=st.text(min_size=1, max_size=20))
def test_any_user_password_and_name_survive_the_url(user: str, password: str, name: str) -> None:
    try:
        parts = [quote(text, safe="") for text in (user, password, name)]
    except UnicodeEncodeError:
        return
    address = env.database("postgresql://{}:{}@host/{}".format(*parts))
    assert (address.user, address.password, address.name) == (user, password, name)


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", " 1", "1e3", "²"])
def test_a_number_is_whole(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, value)
    with pytest.raises(ImproperlyConfigured, match=NAME):
        env.number(NAME, 5)


def test_a_number_has_a_default_and_a_least_value(monkeypatch: pytest.MonkeyPatch) -> None:
    assert env.number(NAME, 5) == 5
    monkeypatch.setenv(NAME, "0")
    assert env.number(NAME, 5) == 0
    with pytest.raises(ImproperlyConfigured, match="1 or more"):
        env.number(NAME, 5, least=1)


def test_words_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, " a, b ,,c")
    assert env.words(NAME) == ["a", "b", "c"]


def test_a_setting_without_a_default_must_be_set() -> None:
    with pytest.raises(ImproperlyConfigured, match=NAME):
        env.text(NAME)


@pytest.mark.parametrize(
    "value", ["smtp://mail:0", "smtp://", "http://mail", "smtp://[::1", "smtp://mail:port", "mail"]
)
def test_an_address_has_a_scheme_that_is_known_and_a_host(value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="smtp://host or smtps://host"):
        env.address(NAME, value, ["smtp", "smtps"])


def test_a_secret_of_development_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert env.secret(NAME) == env.secret(NAME)
    monkeypatch.setenv(NAME, "own")
    assert env.secret(NAME) == "own"
    monkeypatch.setenv(NAME, "")
    with pytest.raises(ImproperlyConfigured, match="empty"):
        env.secret(NAME)


def test_the_owner_s_connection_is_where_migrations_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://app@h/name")
    monkeypatch.delenv("DATABASE_MIGRATE_URL", raising=False)
    assert env.database_migrate_url() is None
    monkeypatch.setenv("DATABASE_MIGRATE_URL", "postgresql://owner@h/name")
    assert env.database_migrate_url() == "postgresql://owner@h/name"
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("DATABASE_MIGRATE_URL")
    assert "capsule_owner" in (env.database_migrate_url() or "")
    assert "capsule_app" in env.database_url()
