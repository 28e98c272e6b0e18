"""Row security on the ledger; PostgreSQL keeps its sums, refuses what does not balance, and lets nobody rewrite it."""

from django.db import migrations

from tenancy.rls import DefinerFunction, ForceRowSecurity, Function, SameOrganization

TABLES = ["credits_account", "credits_grant", "credits_transaction", "credits_entry"]


def purge(table: str) -> DefinerFunction:
    """The one way to delete from a table of the ledger: with its organization, a day after that was closed."""
    return DefinerFunction(
        f"{table}_purge(uuid)",
        f"""{table}_purge(p_organization uuid) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
        DECLARE
            deleted bigint;
        BEGIN
            IF p_organization IS DISTINCT FROM nullif(current_setting('app.organization_id', true), '')::uuid
                OR NOT EXISTS (
                    SELECT FROM tenancy_organization o
                    WHERE o.id = p_organization AND o.closed_at < now() - interval '1 day'
                )
            THEN
                RAISE EXCEPTION 'a ledger can be purged in its own scope, a day after its organization was closed'
                    USING ERRCODE = 'insufficient_privilege';
            END IF;
            DELETE FROM {table} WHERE organization_id = p_organization;
            GET DIAGNOSTICS deleted = ROW_COUNT;
            RETURN deleted;
        END $$""",  # noqa: S608  # names are ours
    )


class Migration(migrations.Migration):
    """The wall, and the rules of the book."""

    dependencies = [("credits", "0001_the_ledger"), ("tenancy", "0003_keys_stay_under_their_parents")]

    operations = [
        *(ForceRowSecurity(table) for table in TABLES),
        SameOrganization("credits_entry", "transaction_id", "credits_transaction"),
        SameOrganization("credits_entry", "account_id", "credits_account"),
        SameOrganization("credits_entry", "grant_id", "credits_grant"),
        Function(
            # What is kept beside the entries starts at nothing, whatever the statement says.
            "credits_start_empty()",
            """credits_start_empty() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF TG_TABLE_NAME = 'credits_account' THEN
                    NEW.balance := 0;
                ELSE
                    NEW.remaining := 0;
                END IF;
                RETURN NEW;
            END $$""",
        ),
        DefinerFunction(
            # The only writer of both sums: the application may not.
            "credits_keep_sums()",
            """credits_keep_sums() RETURNS trigger LANGUAGE plpgsql AS $$
            DECLARE
                v_kind text;
            BEGIN
                UPDATE credits_account SET balance = balance + NEW.amount
                WHERE organization_id = NEW.organization_id AND id = NEW.account_id RETURNING kind INTO v_kind;
                IF v_kind = 'balance' THEN
                    UPDATE credits_grant SET remaining = remaining + NEW.amount
                    WHERE organization_id = NEW.organization_id AND id = NEW.grant_id;
                END IF;
                RETURN NULL;
            END $$""",
        ),
        DefinerFunction(
            # Looks at commit, when the scope may have ended: hence beyond row security. An entry that is added later
            # makes the transaction differ from its own amount.
            "credits_balance_or_fail()",
            """credits_balance_or_fail() RETURNS trigger LANGUAGE plpgsql AS $$
            DECLARE
                v_transaction credits_transaction;
                v_id uuid := CASE WHEN TG_TABLE_NAME = 'credits_entry'
                    THEN (to_jsonb(NEW)->>'transaction_id')::uuid ELSE NEW.id END;
            BEGIN
                SELECT * INTO v_transaction FROM credits_transaction WHERE id = v_id;
                IF EXISTS (
                    SELECT FROM credits_entry WHERE transaction_id = v_id GROUP BY grant_id HAVING sum(amount) <> 0
                ) THEN
                    RAISE EXCEPTION 'the entries of credit transaction % do not sum to zero', v_id
                        USING ERRCODE = 'check_violation', CONSTRAINT = 'credits_balanced';
                END IF;
                IF v_transaction.amount <> (
                    SELECT coalesce(sum(amount), 0) FROM credits_entry WHERE transaction_id = v_id AND amount > 0
                ) THEN
                    RAISE EXCEPTION 'the entries of credit transaction % are not its amount', v_id
                        USING ERRCODE = 'check_violation', CONSTRAINT = 'credits_balanced';
                END IF;
                IF EXISTS (
                    SELECT FROM credits_entry e
                    JOIN credits_account a ON a.id = e.account_id JOIN credits_grant g ON g.id = e.grant_id
                    WHERE e.transaction_id = v_id AND v_transaction.currency <> ANY (ARRAY[a.currency, g.currency])
                ) THEN
                    RAISE EXCEPTION 'credit transaction % mixes currencies', v_id
                        USING ERRCODE = 'check_violation', CONSTRAINT = 'credits_balanced';
                END IF;
                RETURN NULL;
            END $$""",
        ),
        Function(
            "credits_stay()",
            """credits_stay() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION 'the credits ledger is never changed: post another transaction'
                    USING ERRCODE = 'insufficient_privilege';
            END $$""",
        ),
        migrations.RunSQL(
            """
            CREATE TRIGGER start_empty BEFORE INSERT ON credits_account
                FOR EACH ROW EXECUTE FUNCTION credits_start_empty();
            CREATE TRIGGER start_empty BEFORE INSERT ON credits_grant
                FOR EACH ROW EXECUTE FUNCTION credits_start_empty();
            CREATE TRIGGER keep_sums AFTER INSERT ON credits_entry
                FOR EACH ROW EXECUTE FUNCTION credits_keep_sums();
            CREATE CONSTRAINT TRIGGER balanced AFTER INSERT ON credits_entry DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION credits_balance_or_fail();
            CREATE CONSTRAINT TRIGGER balanced AFTER INSERT ON credits_transaction DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION credits_balance_or_fail();
            CREATE TRIGGER stay BEFORE UPDATE OR TRUNCATE ON credits_entry
                FOR EACH STATEMENT EXECUTE FUNCTION credits_stay();
            CREATE TRIGGER stay BEFORE UPDATE OR TRUNCATE ON credits_transaction
                FOR EACH STATEMENT EXECUTE FUNCTION credits_stay();
            REVOKE UPDATE, DELETE ON credits_account, credits_grant, credits_transaction, credits_entry
                FROM capsule_app;
            -- PostgreSQL asks for the right to change some column before it locks a row
            GRANT UPDATE (opened_at) ON credits_account TO capsule_app;
            """,
            """
            REVOKE UPDATE (opened_at) ON credits_account FROM capsule_app;
            GRANT UPDATE, DELETE ON credits_account, credits_grant, credits_transaction, credits_entry TO capsule_app;
            DROP TRIGGER stay ON credits_transaction;
            DROP TRIGGER stay ON credits_entry;
            DROP TRIGGER balanced ON credits_transaction;
            DROP TRIGGER balanced ON credits_entry;
            DROP TRIGGER keep_sums ON credits_entry;
            DROP TRIGGER start_empty ON credits_grant;
            DROP TRIGGER start_empty ON credits_account;
            """,
        ),
        *(purge(table) for table in TABLES),
        DefinerFunction(
            "credits_due_to_expire(timestamptz, uuid, integer)",
            """credits_due_to_expire(p_now timestamptz, p_after uuid, p_limit integer)
            RETURNS TABLE (organization_id uuid, currencies text[]) LANGUAGE sql STABLE AS $$
                SELECT g.organization_id, array_agg(DISTINCT g.currency::text) FROM credits_grant g
                WHERE g.remaining > 0 AND g.expires_at <= p_now AND g.organization_id > p_after
                GROUP BY g.organization_id ORDER BY g.organization_id LIMIT p_limit
            $$""",
        ),
    ]
