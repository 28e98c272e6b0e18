"""What was paid for seats in a period, which preview was confirmed, and who has a subscription that Stripe runs."""

from django.db import migrations, models

from tenancy.rls import DefinerFunction


class Migration(migrations.Migration):
    """Columns with defaults: the code before them need not know."""

    dependencies = [
        ("billing", "0002_entitlements"),
    ]

    operations = [
        migrations.AddField(
            model_name="billingaccount",
            name="checkout_id",
            field=models.CharField(blank=True, max_length=255),
        ),
        migrations.AddField(
            model_name="subscription",
            name="change_token",
            field=models.CharField(blank=True, max_length=64),
        ),
        migrations.AddField(
            model_name="subscription",
            name="paid_seats",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="subscription",
            name="seat_line_amount",
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="subscription",
            name="seat_line_id",
            field=models.CharField(blank=True, max_length=255),
        ),
        DefinerFunction(
            "billing_trials_ending(timestamptz)",
            """billing_trials_ending(p_until timestamptz) RETURNS TABLE (organization_id uuid)
            LANGUAGE sql STABLE AS $$
                SELECT s.organization_id FROM billing_subscription s
                WHERE s.status = 'trialing' AND s.trial_end > now() AND s.trial_end <= p_until
            $$""",
        ),
        DefinerFunction(
            "billing_run_by_stripe()",
            """billing_run_by_stripe() RETURNS TABLE (organization_id uuid)
            LANGUAGE sql STABLE AS $$
                SELECT s.organization_id FROM billing_subscription s
                WHERE s.source = 'stripe' AND s.status IN ('trialing', 'active', 'past_due', 'unpaid')
            $$""",
        ),
    ]
