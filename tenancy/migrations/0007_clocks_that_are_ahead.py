"""How far the simulator's time machine has moved an organization's clock, for everything that its money goes by."""

from datetime import timedelta

from django.db import migrations, models

from tenancy.rls import DefinerFunction


class Migration(migrations.Migration):
    """A clock for each organization, which is the real one where money moves."""

    dependencies = [("tenancy", "0006_keys_may_read_and_change_billing")]

    operations = [
        migrations.AddField(
            model_name="organization",
            name="clock_ahead",
            field=models.DurationField(db_default=timedelta(0)),
        ),
        migrations.AddIndex(
            model_name="organization",
            index=models.Index(
                fields=["clock_ahead"],
                name="organization_ahead",
                condition=models.Q(("clock_ahead__gt", timedelta(0))),
            ),
        ),
        DefinerFunction(
            "tenancy_furthest_ahead()",
            """tenancy_furthest_ahead() RETURNS TABLE (ahead interval) LANGUAGE sql STABLE AS $$
                SELECT max(o.clock_ahead) FROM tenancy_organization o WHERE o.clock_ahead > interval '0'
            $$""",
        ),
    ]
