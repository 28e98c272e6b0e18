"""How differences are laid out."""

from typing import Any

from capsule_cloud.memory.engine import Capsule, CapsuleType
from capsule_cloud.web.comparison import LINES_SHOWN, Comparison, Words, compared
from tests.capsule_cloud.memory.capsules_for_tests import context, memory, sealed, skill

NOTHING: dict[str, Any] = {
    "added_facts": [],
    "removed_facts": [],
    "modified_facts": [],
    "added_skills": [],
    "removed_skills": [],
}


def compare(before: Capsule, after: Capsule, **found: Any) -> Comparison:
    return compared(NOTHING | found, before.model_dump_json(), after.model_dump_json())


def test_words_that_changed_are_marked_on_their_side() -> None:
    [part] = compare(memory(summary="Ships on Tuesdays only"), memory(summary="Ships on Fridays only")).parts
    [line] = part.lines
    assert (part.title, line.kind) == ("Summary", "changed")
    assert line.before == [Words("Ships on ", False), Words("Tuesdays", True), Words(" only", False)]
    assert line.after == [Words("Ships on ", False), Words("Fridays", True), Words(" only", False)]


def test_a_word_that_was_put_in_is_marked_alone() -> None:
    [part] = compare(
        memory(summary="Ships on Tuesdays, only"), memory(summary="Ships on Tuesdays and Fridays, only")
    ).parts
    assert part.lines[0].before == [Words("Ships on Tuesdays", False), Words(", only", False)]
    assert part.lines[0].after is not None
    assert [words.text for words in part.lines[0].after if words.is_changed] == [" and Fridays"]


def test_the_kinds_of_difference_are_told_apart() -> None:
    changed = [{"key": "day", "old_value": "Tuesday", "new_value": ["Tuesday", "Friday"]}]
    found = compare(
        memory("a", "b", "c"),
        memory("a", "b"),
        modified_facts=changed,
        added_facts=[{"key": "new", "value": 7}],
        removed_facts=[{"key": "gone", "value": "x"}],
    )
    [part] = found.parts
    assert [(line.name, line.kind) for line in part.lines] == [
        ("day", "changed"),
        ("new", "added"),
        ("gone", "removed"),
    ]
    assert part.lines[1].after == [Words("7", False)]
    assert found.same_facts == 1


def test_a_skill_that_was_rewritten_is_seen_though_its_name_is_the_same() -> None:
    first = sealed(CapsuleType.SKILL, {"skill_name": "brew", "instructions": "boil water"}, "Brew", "ada")
    second = sealed(CapsuleType.SKILL, {"skill_name": "brew", "instructions": "boil milk"}, "Brew", "ada")
    [part] = [part for part in compare(first, second).parts if part.title == "Skills"]
    assert [(line.name, line.kind) for line in part.lines] == [("brew", "changed")]


def test_skills_come_and_go() -> None:
    found = compare(skill("knit"), skill("sew"), added_skills=[{"skill_name": "sew"}], removed_skills=["knit"])
    [part] = [part for part in found.parts if part.title == "Skills"]
    assert [(line.name, line.kind) for line in part.lines] == [("sew", "added"), ("knit", "removed")]


def test_the_whole_content_of_contexts_is_compared() -> None:
    start = "the same beginning " * 20
    [part] = compare(context(f"{start} tea"), context(f"{start} milk")).parts
    assert part.lines[0].before is not None
    assert part.lines[0].before[-1] == Words("tea", True)


def test_long_texts_are_shown_without_marks() -> None:
    [part] = compare(memory(summary="word " * 500), memory(summary="other " * 500)).parts
    assert part.lines[0].before == [Words("word " * 500, False)]


def test_a_text_that_was_empty_is_added() -> None:
    [part] = compare(memory(), memory(summary="Now there is one")).parts
    assert part.lines[0].kind == "added"


def test_no_more_lines_are_laid_out_than_can_be_read() -> None:
    added = [{"key": f"fact.{number}", "value": "x"} for number in range(LINES_SHOWN + 3)]
    [part] = compare(memory(), memory(), added_facts=added).parts
    assert (len(part.lines), part.unshown) == (LINES_SHOWN, 3)
