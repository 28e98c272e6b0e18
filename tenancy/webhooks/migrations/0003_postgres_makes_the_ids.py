"""PostgreSQL 18 makes time-ordered ids itself; it is required everywhere."""

from django.db import migrations

from tenancy.rls import Function

ID = "webhooks_id() RETURNS uuid LANGUAGE sql VOLATILE AS $$ SELECT uuidv7() $$"


class Migration(migrations.Migration):
    """The same function under the same name, without the bits put together by hand."""

    dependencies = [("webhooks", "0002_the_engine")]

    operations = [Function("webhooks_id()", ID, is_replacement=True)]
