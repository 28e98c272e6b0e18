"""The tables of what proves the trail. They grow and never change: the application may only read them."""

import django.contrib.postgres.indexes
import django.utils.timezone
import uuid_utils.compat
from django.db import migrations, models

from tenancy.rls import DefinerFunction, ForceRowSecurity

GROWING = ("leaf", "node", "checkpoint", "logentry", "lognode")
RIGHTS = """
    REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON audit_sealing_leaf, audit_sealing_node, audit_sealing_treehead,
        audit_sealing_checkpoint, audit_sealing_log, audit_sealing_logentry, audit_sealing_lognode FROM capsule_app;
    REVOKE DELETE, TRUNCATE ON audit_sealing_signingkey FROM capsule_app;
    INSERT INTO audit_sealing_log
        (id, origin, cursor_xid, cursor_id, is_restored, size, frontier, note)
    VALUES (1, '', 0, '00000000-0000-0000-0000-000000000000', false, 0, '', '');
"""
TRIGGERS = "".join(
    f"""
    CREATE TRIGGER no_change BEFORE UPDATE OR DELETE ON audit_sealing_{table}
        FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
    CREATE TRIGGER no_truncate BEFORE TRUNCATE ON audit_sealing_{table}
        FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
    ALTER TABLE audit_sealing_{table} ENABLE ALWAYS TRIGGER no_change;
    ALTER TABLE audit_sealing_{table} ENABLE ALWAYS TRIGGER no_truncate;
    """
    for table in GROWING
)


def purging(name: str, table: str) -> DefinerFunction:
    """As audit_purge: in the scope of an organization that was closed a day ago or earlier."""
    return DefinerFunction(
        f"{name}(uuid)",
        f"""{name}(p_organization uuid) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
            DECLARE
                deleted bigint;
            BEGIN
                IF p_organization IS DISTINCT FROM nullif(current_setting('app.organization_id', true), '')::uuid
                    OR NOT EXISTS (
                        SELECT FROM tenancy_organization o
                        WHERE o.id = p_organization AND o.closed_at < now() - interval '1 day'
                    )
                THEN
                    RAISE EXCEPTION 'a trail can be purged in its own scope, a day after its organization was closed'
                        USING ERRCODE = 'insufficient_privilege';
                END IF;
                INSERT INTO audit_auditdeletion VALUES (pg_current_xact_id());
                DELETE FROM {table} WHERE organization_id = p_organization;
                GET DIAGNOSTICS deleted = ROW_COUNT;
                DELETE FROM audit_auditdeletion WHERE xid = pg_current_xact_id();
                RETURN deleted;
            END $$""",  # noqa: S608  # our own names
    )


class Migration(migrations.Migration):
    """Tables, the wall, and triggers as the trail's own."""

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Checkpoint",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "organization_id", "size", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("organization_id", models.UUIDField()),
                ("size", models.BigIntegerField()),
                ("root", models.BinaryField()),
                ("note", models.TextField()),
                ("entry", models.BigIntegerField()),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="Log",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("origin", models.CharField(blank=True, max_length=255)),
                ("cursor_xid", models.BigIntegerField(default=0)),
                ("cursor_id", models.UUIDField()),
                ("is_restored", models.BooleanField(default=False)),
                ("size", models.BigIntegerField(default=0)),
                ("frontier", models.BinaryField(default=b"")),
                ("note", models.TextField(blank=True)),
                ("sealed_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="LogEntry",
            fields=[
                ("place", models.BigIntegerField(primary_key=True, serialize=False)),
                ("hash", models.BinaryField()),
            ],
        ),
        migrations.CreateModel(
            name="LogNode",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "level", "place", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("level", models.SmallIntegerField()),
                ("place", models.BigIntegerField()),
                ("hash", models.BinaryField()),
            ],
        ),
        migrations.CreateModel(
            name="Node",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "organization_id",
                        "level",
                        "place",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("organization_id", models.UUIDField()),
                ("level", models.SmallIntegerField()),
                ("place", models.BigIntegerField()),
                ("hash", models.BinaryField()),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="SigningKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("public", models.BinaryField(unique=True)),
                ("sealed_private", models.BinaryField(null=True)),
                ("begins_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("ends_at", models.DateTimeField(null=True)),
                (
                    "end",
                    models.CharField(
                        blank=True,
                        choices=[("replaced", "Replaced"), ("lost", "Lost"), ("stolen", "Stolen")],
                        max_length=8,
                    ),
                ),
                ("log_size", models.BigIntegerField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="TreeHead",
            fields=[
                ("organization_id", models.UUIDField(primary_key=True, serialize=False)),
                ("size", models.BigIntegerField()),
                ("frontier", models.BinaryField()),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="Leaf",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "organization_id", "seq", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("organization_id", models.UUIDField()),
                ("seq", models.BigIntegerField()),
                ("event_id", models.UUIDField()),
                ("hash", models.BinaryField()),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "indexes": [
                    django.contrib.postgres.indexes.BrinIndex(
                        autosummarize=True, fields=["event_id"], name="audit_leaves_by_time", pages_per_range=32
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("organization_id", "event_id"), name="audit_sealed_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="Publication",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("organization_id", models.UUIDField()),
                ("size", models.BigIntegerField()),
                ("via", models.CharField(max_length=16)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
                "constraints": [
                    models.UniqueConstraint(fields=("organization_id", "via", "size"), name="audit_published_once")
                ],
            },
        ),
        *[
            ForceRowSecurity(f"audit_sealing_{table}")
            for table in ("leaf", "node", "treehead", "checkpoint", "publication")
        ],
        migrations.RunSQL(RIGHTS),
        migrations.RunSQL(TRIGGERS),
        purging("audit_sealing_purge_leaves", "audit_sealing_leaf"),
        purging("audit_sealing_purge_nodes", "audit_sealing_node"),
        purging("audit_sealing_purge_heads", "audit_sealing_treehead"),
        purging("audit_sealing_purge_checkpoints", "audit_sealing_checkpoint"),
    ]
