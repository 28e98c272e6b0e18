"""Users are made from an e-mail address, whose letters have no case."""

import uuid

import pytest
from django.db import IntegrityError, transaction

from tenancy.models import User


@pytest.mark.django_db
def test_an_address_belongs_to_one_person_whatever_its_case() -> None:
    email = f"{uuid.uuid4().hex}@example.com"
    user = User.objects.create_user(email.upper(), "a-long-password")
    assert user.email == email
    assert user.check_password("a-long-password")
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create(email=email.title())


@pytest.mark.django_db
def test_a_user_without_a_password_cannot_sign_in_by_one() -> None:
    assert not User.objects.create_user(f"{uuid.uuid4().hex}@example.com").has_usable_password()


@pytest.mark.django_db
def test_a_superuser_is_staff() -> None:
    user = User.objects.create_superuser(f"{uuid.uuid4().hex}@example.com", "a-long-password")
    assert (user.is_staff, user.is_superuser) == (True, True)
