"""Capsules chosen in the memory browser: comparing two, merging several."""

from django.test import Client

from capsule_cloud.memory.models import Capsule
from tenancy.audit.models import AuditEvent
from tenancy.scope import scope
from tests.capsule_cloud.memory.capsules_for_tests import context, memory, store
from tests.factories import Tenant


def test_a_comparison_shows_both_sides_and_marks_the_words(tenant: Tenant, owner: Client, home: str) -> None:
    old = memory("ships on Tuesdays", "drinks tea", title="Old habits", summary="Ships on Tuesdays")
    new = memory("ships on Thursdays", "drinks tea", "has a dog", title="New habits", summary="Ships on Thursdays")
    older, newer = store(tenant, old, new)
    text = owner.get(f"{home}memory/default/compare/?id={newer}&id={older}").content.decode()
    assert text.index("Old habits") < text.index("New habits")
    assert "ships on <del>Tuesdays</del>" in text
    assert "ships on <ins>Thursdays</ins>" in text
    assert "has a dog" in text
    assert "drinks tea" not in text
    assert "1 fact is the same in both" in text
    assert f"/merge/?id={older}&amp;id={newer}" in text


def test_equal_capsules_say_the_same(tenant: Tenant, owner: Client, home: str) -> None:
    one, two = store(tenant, memory("x", title="A"), memory("x", title="B"))
    assert "They say the same" in owner.get(f"{home}memory/default/compare/?id={one}&id={two}").content.decode()


def test_anything_but_two_is_not_compared(tenant: Tenant, owner: Client, home: str) -> None:
    ids = store(tenant, memory("x"), memory("y"), memory("z"))
    for chosen in ([], ids[:1], ids, [ids[0], ids[0]]):
        query = "&".join(f"id={one}" for one in chosen)
        answer = owner.get(f"{home}memory/default/compare/?{query}", follow=True)
        assert "Choose exactly two capsules" in answer.content.decode()
    assert owner.get(f"{home}memory/default/compare/?id={ids[0]}&id=nothing").status_code == 404


def test_a_selection_is_merged_and_stays(tenant: Tenant, owner: Client, home: str) -> None:
    ids = store(tenant, memory("tea", title="First"), context("milk", title="Second"))
    form = owner.get(f"{home}memory/default/merge/?id={ids[0]}&id={ids[1]}").content.decode()
    assert 'value="First and 1 more"' in form
    answer = owner.post(f"{home}memory/default/merge/", {"id": ids, "title": "Drinks", "tags": "a, b"}, follow=True)
    assert "2 capsules are merged" in answer.content.decode()
    with scope(tenant.organization):
        made = Capsule.objects.exclude(capsule_id__in=ids).get()
        assert (made.title, sorted(made.tags), made.user_id) == ("Drinks", ["a", "b"], "ada")
        assert Capsule.objects.count() == 3
        assert AuditEvent.objects.filter(action="memory.capsule.merged").count() == 1


def test_a_merge_needs_two_capsules_a_title_and_one_end_user(tenant: Tenant, owner: Client, home: str) -> None:
    ids = store(tenant, memory("x"), memory("y"), memory("z", user_id="bob"))
    page = f"{home}memory/default/merge/"
    assert "Choose 2 to 50" in owner.get(f"{page}?id={ids[0]}", follow=True).content.decode()
    assert owner.post(page, {"id": ids[:2], "title": ""}).status_code == 422
    assert owner.post(page, {"id": ids[:2], "title": "x" * 501}).status_code == 422
    mixed = owner.get(f"{page}?id={ids[0]}&id={ids[2]}").content.decode()
    assert "They belong to 2 end users" in mixed
    assert "Merge capsules" not in mixed
    assert owner.post(page, {"id": [ids[0], ids[2]], "title": "Mixed"}).status_code == 422
    assert owner.post(page, {"id": [ids[0], "nothing"], "title": "Mixed"}).status_code == 404
    with scope(tenant.organization):
        assert Capsule.objects.count() == 3


def test_a_viewer_compares_but_is_offered_no_merge(tenant: Tenant, viewer: Client, home: str) -> None:
    one, two = store(tenant, memory("x"), memory("y"))
    for page in ("memory/", f"memory/default/compare/?id={one}&id={two}"):
        text = viewer.get(home + page).content.decode()
        assert "ompare" in text
        assert "/merge/" not in text


def test_capsules_of_another_organization_are_not_found(
    tenant: Tenant, stranger: Tenant, owner: Client, home: str
) -> None:
    [own], [foreign] = store(tenant, memory("x")), store(stranger, memory("y"))
    for page in ("compare/", "merge/"):
        assert owner.get(f"{home}memory/default/{page}?id={own}&id={foreign}").status_code == 404
    assert owner.post(f"{home}memory/default/merge/", {"id": [own, foreign], "title": "Stolen"}).status_code == 404
