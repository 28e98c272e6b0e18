"""Facts are weighed by the stems that they share with the question, however quickly."""

from hypothesis import given
from hypothesis import strategies as st

from capsule_cloud.memory import analysis
from capsule_cloud.memory.relevance import by_relevance, relevance

WORDS = [
    "tea",
    "Teas",
    "dying",
    "die",
    "skies",
    "sky",
    "userId",
    "id",
    "possibility",
    "possible",
    "茶",
    "café",
    "t",
    "a",
]
TEXTS = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=8)), max_size=6).map(" ".join)


def test_relevance_adds_the_weight_of_each_shared_stem_once() -> None:
    weights = {"tea": 2.0, "kyoto": 3.0, "coffe": 5.0}
    assert relevance("Tea, teas and more tea in Kyoto", weights) == 5.0
    assert relevance("nothing", weights) == 0


@given(texts=st.lists(TEXTS, max_size=8), query=TEXTS)
def test_the_quick_order_is_the_order_of_relevance(texts: list[str], query: str) -> None:
    weights = {stem: float(place + 1) for place, stem in enumerate(analysis.query_lexemes(query))}
    facts = [{"key": "", "value": text} for text in texts]
    assert by_relevance(facts, weights) == sorted(facts, key=lambda fact: -relevance(fact["value"], weights))
