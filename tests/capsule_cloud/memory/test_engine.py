"""The door to the engine: coroutines run to their end on this thread, and a strange engine is refused."""

import asyncio

import pytest

from capsule_cloud.memory import engine
from capsule_cloud.memory.apps import engine_is_known


def test_a_coroutine_that_never_waits_runs_to_its_end() -> None:
    async def answer() -> int:
        return 42

    assert engine.drive(answer()) == 42


def test_a_coroutine_that_waits_is_refused() -> None:
    async def wait() -> None:
        await asyncio.sleep(0)

    with pytest.raises(engine.EngineSuspended, match="wait"):
        engine.drive(wait())


def test_a_failure_inside_comes_out() -> None:
    async def fail() -> None:
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        engine.drive(fail())


def test_the_installed_engine_is_the_one_we_know() -> None:
    assert engine.problems() == []
    assert engine_is_known(None) == []


def test_an_unknown_engine_does_not_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "KNOWN_VERSION", "9")
    monkeypatch.setattr(engine, "KNOWN_SCHEMA", "other")
    monkeypatch.setattr(engine, "KNOWN_STORAGE_METHODS", frozenset({"other"}))

    assert len(engine.problems()) == 3
    assert [error.id for error in engine_is_known(None)] == ["memory.E001"] * 3


def test_invented_facts_are_for_tests_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPSULE_MOCK_EXTRACTOR", "true")
    assert engine.problems() == []

    monkeypatch.setenv("CAPSULE_ENV", "production")
    assert "CAPSULE_MOCK_EXTRACTOR" in engine.problems()[0]
