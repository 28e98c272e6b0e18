"""The catalogue of audited actions; what is not here cannot be recorded.

By what they are about they stand in tenancy/audit/catalogue/. docs/audit.md and docs/api/audit_actions.json are made
from them (`manage.py audit_catalogue`).
"""

from tenancy.audit.catalogue.action import CATALOGUE, Action, Unfit
from tenancy.audit.catalogue.billing import *  # noqa: F403
from tenancy.audit.catalogue.groups import *  # noqa: F403
from tenancy.audit.catalogue.memory import *  # noqa: F403
from tenancy.audit.catalogue.organizations import *  # noqa: F403
from tenancy.audit.catalogue.scim import *  # noqa: F403
from tenancy.audit.catalogue.search import *  # noqa: F403
from tenancy.audit.catalogue.sso import *  # noqa: F403
from tenancy.audit.catalogue.trail import *  # noqa: F403

__all__ = ["CATALOGUE", "Action", "Unfit"]
