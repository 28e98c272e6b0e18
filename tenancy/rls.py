"""Migration operations for the tenant wall in PostgreSQL: forced row security and narrow definer functions."""

from typing import Any

from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

CURRENT = "nullif(current_setting('app.organization_id', true), '')::uuid"


class ForceRowSecurity(Operation):
    """Enable and force row security on a table, with one pure equality policy (so an index can serve it).

    After a COMMIT an unset custom setting reads as '' and not NULL, hence the nullif; without a setting no row matches.
    """

    reversible = True

    def __init__(self, table: str, column: str = "organization_id") -> None:
        self.table, self.column = table, column

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Models do not change."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Create the policy `tenant_wall`."""
        own = f"{self.column} = {CURRENT}"
        schema_editor.execute(f'ALTER TABLE "{self.table}" ENABLE ROW LEVEL SECURITY')
        schema_editor.execute(f'ALTER TABLE "{self.table}" FORCE ROW LEVEL SECURITY')
        schema_editor.execute(f'CREATE POLICY tenant_wall ON "{self.table}" USING ({own}) WITH CHECK ({own})')

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Take the wall down."""
        schema_editor.execute(f'DROP POLICY tenant_wall ON "{self.table}"')
        schema_editor.execute(f'ALTER TABLE "{self.table}" NO FORCE ROW LEVEL SECURITY')
        schema_editor.execute(f'ALTER TABLE "{self.table}" DISABLE ROW LEVEL SECURITY')

    def describe(self) -> str:
        """For `migrate --plan`."""
        return f"Force row security on {self.table}"


class SameOrganization(Operation):
    """Tie a reference to its own organization: PostgreSQL checks foreign keys without regard to row security.

    Without it a row could point at another organization's row, and tell by the error whether there is one.
    """

    reversible = True

    def __init__(self, table: str, column: str, target: str) -> None:
        self.table, self.column, self.target = table, column, target

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Models do not change."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Add a foreign key over the organization and the reference, checked at commit as Django's own."""
        schema_editor.execute(
            f'CREATE UNIQUE INDEX IF NOT EXISTS "{self.target}_of_organization" '
            f'ON "{self.target}" (organization_id, id)'
        )
        schema_editor.execute(
            f'ALTER TABLE "{self.table}" ADD CONSTRAINT "{self._name}" FOREIGN KEY (organization_id, "{self.column}") '
            f'REFERENCES "{self.target}" (organization_id, id) DEFERRABLE INITIALLY DEFERRED'
        )

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Drop the foreign key; the index stays for others that need it."""
        schema_editor.execute(f'ALTER TABLE "{self.table}" DROP CONSTRAINT "{self._name}"')

    @property
    def _name(self) -> str:
        return f"{self.table}_{self.column}_same_organization"

    def describe(self) -> str:
        """For `migrate --plan`."""
        return f"Keep {self.table}.{self.column} within its organization"


class Function(Operation):
    """Create an SQL function that runs with the caller's rights, under row security, and that the application may call.

    `signature` is `name(argument types)`, `body` everything after `CREATE OR REPLACE FUNCTION`. A replacement stays
    when its migration is taken back: it serves the earlier code too.
    """

    reversible = True
    becomes_definer = False

    def __init__(self, signature: str, body: str, *, is_replacement: bool = False) -> None:
        self.signature, self.body, self.is_replacement = signature, body, is_replacement

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Models do not change."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Create or replace it and set its rights."""
        # params=None: a percent sign in the body is not a placeholder
        schema_editor.execute(f"CREATE OR REPLACE FUNCTION {self.body}", params=None)
        schema_editor.execute(f"REVOKE ALL ON FUNCTION {self.signature} FROM PUBLIC")
        schema_editor.execute(f"GRANT EXECUTE ON FUNCTION {self.signature} TO capsule_app")
        if self.becomes_definer:
            schema_editor.execute(f"ALTER FUNCTION {self.signature} SECURITY DEFINER SET search_path = public, pg_temp")
            schema_editor.execute(f"ALTER FUNCTION {self.signature} OWNER TO capsule_definer")

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Drop it, unless it replaced an earlier one."""
        if not self.is_replacement:
            schema_editor.execute(f"DROP FUNCTION {self.signature}")

    def describe(self) -> str:
        """For `migrate --plan`."""
        return f"Create function {self.signature}"


class DefinerFunction(Function):
    """A function that looks across organizations: one narrow question, owned by the NOLOGIN role capsule_definer."""

    becomes_definer = True
