"""Row security around invoices and contracts; PostgreSQL lets nobody change what an open invoice says."""

from django.db import migrations

from tenancy.rls import DefinerFunction, ForceRowSecurity, Function, SameOrganization

FIXED = (
    *("period_start", "period_end", "source", "currency", "contract_id", "terms", "watermark"),
    *("subtotal", "credited", "total", "po_number", "issued_at", "due_at"),
)


def purge(table: str) -> DefinerFunction:
    """The one way to delete from a table: with its organization, a day after that was closed."""
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
                RAISE EXCEPTION 'invoices can be purged in their own scope, a day after their organization was closed'
                    USING ERRCODE = 'insufficient_privilege';
            END IF;
            DELETE FROM {table} WHERE organization_id = p_organization;
            GET DIAGNOSTICS deleted = ROW_COUNT;
            RETURN deleted;
        END $$""",  # noqa: S608  # names are ours
    )


class Migration(migrations.Migration):
    """The wall, and the rules of an invoice."""

    dependencies = [("invoicing", "0001_invoices_and_contracts")]

    operations = [
        ForceRowSecurity("invoicing_contract"),
        ForceRowSecurity("invoicing_invoice"),
        ForceRowSecurity("invoicing_invoiceline"),
        SameOrganization("invoicing_contract", "subscription_id", "billing_subscription"),
        SameOrganization("invoicing_invoice", "contract_id", "invoicing_contract"),
        SameOrganization("invoicing_invoiceline", "invoice_id", "invoicing_invoice"),
        Function(
            "invoicing_stay()",
            f"""invoicing_stay() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF NEW.state = 'draft' OR (OLD.number IS NOT NULL AND NEW.number IS DISTINCT FROM OLD.number)
                    OR ({", ".join(f"NEW.{column}" for column in FIXED)}) IS DISTINCT FROM
                    ({", ".join(f"OLD.{column}" for column in FIXED)})
                THEN
                    RAISE EXCEPTION 'invoice % is open: what it says stays', OLD.number
                        USING ERRCODE = 'insufficient_privilege';
                END IF;
                RETURN NEW;
            END $$""",  # names are ours
        ),
        Function(
            "invoicing_only_drafts_grow()",
            """invoicing_only_drafts_grow() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF NOT EXISTS (
                    SELECT FROM invoicing_invoice i
                    WHERE i.organization_id = NEW.organization_id AND i.id = NEW.invoice_id AND i.state = 'draft'
                ) THEN
                    RAISE EXCEPTION 'an invoice gets its lines while it is a draft'
                        USING ERRCODE = 'insufficient_privilege';
                END IF;
                RETURN NEW;
            END $$""",
        ),
        migrations.RunSQL(
            """
            CREATE TRIGGER stay BEFORE UPDATE ON invoicing_invoice
                FOR EACH ROW WHEN (OLD.state <> 'draft') EXECUTE FUNCTION invoicing_stay();
            CREATE TRIGGER only_drafts_grow BEFORE INSERT ON invoicing_invoiceline
                FOR EACH ROW EXECUTE FUNCTION invoicing_only_drafts_grow();
            REVOKE DELETE ON invoicing_invoice FROM capsule_app;
            REVOKE UPDATE, DELETE ON invoicing_invoiceline FROM capsule_app;
            """,
            """
            GRANT UPDATE, DELETE ON invoicing_invoiceline TO capsule_app;
            GRANT DELETE ON invoicing_invoice TO capsule_app;
            DROP TRIGGER only_drafts_grow ON invoicing_invoiceline;
            DROP TRIGGER stay ON invoicing_invoice;
            """,
        ),
        purge("invoicing_invoice"),
        purge("invoicing_invoiceline"),
        DefinerFunction(
            # Whose period is over and has no invoice yet. The organization's columns say which period runs; where they
            # are late, the period that they name is over.
            "invoicing_periods_over(timestamptz, uuid, integer)",
            """invoicing_periods_over(p_now timestamptz, p_after uuid, p_limit integer)
            RETURNS TABLE (organization_id uuid) LANGUAGE sql STABLE AS $$
                SELECT DISTINCT s.organization_id
                FROM billing_subscription s JOIN tenancy_organization o ON o.id = s.organization_id
                CROSS JOIN LATERAL (SELECT CASE
                    WHEN s.ended_at <= p_now THEN s.ended_at
                    WHEN o.period_end <= p_now THEN o.period_end
                    WHEN o.period_start IS NOT NULL THEN o.period_start
                    WHEN s.period_end <= p_now THEN s.period_end
                END AS moment) AS last_end
                WHERE s.organization_id > p_after AND s.status NOT IN ('incomplete', 'incomplete_expired')
                    AND last_end.moment > least(s.created_at, s.period_start) AND NOT EXISTS (
                        SELECT FROM invoicing_invoice i
                        WHERE i.organization_id = s.organization_id AND i.period_end >= last_end.moment
                    )
                ORDER BY s.organization_id LIMIT p_limit
            $$""",
        ),
        DefinerFunction(
            "invoicing_drafts(timestamptz, uuid, integer)",
            """invoicing_drafts(p_ended_by timestamptz, p_after uuid, p_limit integer)
            RETURNS TABLE (organization_id uuid) LANGUAGE sql STABLE AS $$
                SELECT DISTINCT i.organization_id FROM invoicing_invoice i
                WHERE i.state = 'draft' AND i.period_end <= p_ended_by AND i.organization_id > p_after
                ORDER BY i.organization_id LIMIT p_limit
            $$""",
        ),
        DefinerFunction(
            "invoicing_invoiced(timestamptz, timestamptz, uuid, integer)",
            """invoicing_invoiced(p_from timestamptz, p_until timestamptz, p_after uuid, p_limit integer)
            RETURNS TABLE (organization_id uuid) LANGUAGE sql STABLE AS $$
                SELECT DISTINCT i.organization_id FROM invoicing_invoice i
                WHERE i.state <> 'draft' AND i.period_start >= p_from AND i.period_start < p_until
                    AND i.organization_id > p_after
                ORDER BY i.organization_id LIMIT p_limit
            $$""",
        ),
    ]
