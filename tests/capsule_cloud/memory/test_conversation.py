"""What is noticed in a turn without its number is what the engine notices in it with the whole session before it."""

from hypothesis import given
from hypothesis import strategies as st

from capsule_cloud.memory import conversation
from capsule_cloud.memory.engine import ConversationTurn, SkillDetector, drive
from tests.capsule_cloud.memory.conversations import CODE

PARTS = st.sampled_from(
    [
        CODE,
        "1. Install it\n2. Configure it\n3. pip install more",
        "| a | b |\n",
        "import this ",
        "步骤 ",
        "Hm. ",
        "x" * 200,
    ]
)
ANSWERS = st.lists(PARTS, min_size=1, max_size=6).map("\n".join)
QUESTIONS = st.sampled_from(["How?", "perfect, remember this", "imperfect", "记住这个"])


@given(st.lists(st.tuples(QUESTIONS, ANSWERS), min_size=1, max_size=14))
def test_the_same_skills_are_noticed_as_by_the_engine(pairs: list[tuple[str, str]]) -> None:
    whole: list[ConversationTurn] = []
    for question, answer in pairs:
        earlier = [turn.content for turn in whole if turn.role == "assistant"]
        whole.append(ConversationTurn(turn_id=len(whole) + 1, role="user", content=question))
        whole.append(ConversationTurn(turn_id=len(whole) + 1, role="assistant", content=answer))
        expected = drive(SkillDetector().check(whole[-1], whole))

        if not conversation.looks_back(answer):
            earlier = []
        noticed = conversation.notice_skill(question, answer, earlier)

        if expected is None:
            assert noticed is None
        else:
            assert noticed is not None
            draft = expected.skill_draft
            assert noticed.suggested_name.replace("(Turn 0)", f"(Turn {len(whole)})") == draft.suggested_name
            assert (noticed.rule, noticed.confidence) == (draft.trigger_rule.value, draft.confidence)
            assert noticed.preview == draft.preview
