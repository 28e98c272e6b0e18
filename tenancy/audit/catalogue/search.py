"""Actions about searches of the trail that are kept."""

from tenancy.audit.catalogue.action import FLAG, TEXT, Action, Kind, Schema

_VIEW: dict[str, Schema] = {"is_shared": FLAG}
VIEW_SAVED = Action("audit.view.saved", "saved a search of the audit log", Kind.CREATE, has=_VIEW)
VIEW_UPDATED = Action(
    "audit.view.updated",
    "changed a saved search of the audit log",
    Kind.UPDATE,
    changes={"name": TEXT, "filters": {"type": ["object", "null"]}, "is_shared": FLAG},
)
VIEW_DELETED = Action("audit.view.deleted", "deleted a saved search of the audit log", Kind.DELETE, has=_VIEW)
