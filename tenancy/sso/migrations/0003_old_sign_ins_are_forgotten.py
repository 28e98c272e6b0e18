"""Which organizations have traces of sign-ins that are older than anybody looks back."""

from django.db import migrations, models

from tenancy.rls import DefinerFunction

# An assertion that is still valid is known for as long: forgotten, it would count once more.
OLD = """sso_sign_ins_old(p_kept interval, p_limit integer) RETURNS TABLE (organization_id uuid)
LANGUAGE sql STABLE AS $$
    SELECT DISTINCT s.organization_id FROM sso_signin s
    WHERE s.created_at < now() - p_kept AND s.expires_at < now() LIMIT p_limit
$$"""


class Migration(migrations.Migration):
    """The question that looks over the wall, and its index."""

    dependencies = [("sso", "0002_identity_providers")]

    operations = [
        migrations.AddIndex(model_name="signin", index=models.Index(fields=["created_at"], name="sso_sign_in_old")),
        DefinerFunction("sso_sign_ins_old(interval, integer)", OLD),
    ]
