"""Sessions that an identity provider opened ask whether it is still in use."""

from django.db import migrations

from tenancy.rls import DefinerFunction

IN_USE = """sso_provider_in_use(p_provider uuid) RETURNS TABLE (is_in_use boolean) LANGUAGE sql STABLE AS $$
    SELECT p.state = 'active' FROM sso_identityprovider p WHERE p.id = p_provider
$$"""


class Migration(migrations.Migration):
    """One question that looks over the wall."""

    dependencies = [("sso", "0003_old_sign_ins_are_forgotten")]

    operations = [DefinerFunction("sso_provider_in_use(uuid)", IN_USE)]
