"""Actions of the data plane: sessions, capsules, skills, and reads where a project wants them recorded."""

from tenancy.audit.catalogue.action import (
    END_USER,
    FLAG,
    MOMENT,
    TEXT,
    WHOLE,
    Action,
    Kind,
    Severity,
    many,
)

# --- Sessions ---
MEMORY_SESSION_OPENED = Action("memory.session.opened", "opened a session", Kind.API_CREATE)
MEMORY_SESSION_INGESTED = Action(
    "memory.session.ingested", "added turns to a session", Kind.API_UPDATE, has={"turns": WHOLE}
)
MEMORY_SESSION_SEALED = Action(
    "memory.session.sealed",
    "sealed a session into a capsule",
    Kind.API_CREATE,
    has={"capsule_id": TEXT, "turns": WHOLE},
)
MEMORY_SESSION_EXPIRED = Action("memory.session.expired", "removed a session that was never used", Kind.API_DELETE)
MEMORY_TRIGGER_RESOLVED = Action(
    "memory.trigger.resolved",
    "decided about a skill that was noticed",
    Kind.API_UPDATE,
    has={"event_id": TEXT},
    changes={"resolution": TEXT},
)
MEMORY_TURNS_PURGED = Action(
    "memory.turns.purged",
    "deleted raw turns past their retention",
    Kind.API_DELETE,
    has={"sessions": WHOLE, "turns": WHOLE},
)
# --- Capsules ---
MEMORY_CAPSULE_DELETED = Action(
    "memory.capsule.deleted",
    "deleted a capsule",
    Kind.API_DELETE,
    has={"user_id": END_USER, "turns": WHOLE},
    severity=Severity.LOW,
)
MEMORY_CAPSULE_PINNED = Action(
    "memory.capsule.pinned",
    "pinned a capsule",
    Kind.API_UPDATE,
    changes={"is_pinned": FLAG, "expires_at": MOMENT},
)
MEMORY_CAPSULE_UNPINNED = Action(
    "memory.capsule.unpinned", "unpinned a capsule", Kind.API_UPDATE, changes={"is_pinned": FLAG}
)
MEMORY_CAPSULE_TAGGED = Action(
    "memory.capsule.tagged", "changed a capsule's tags", Kind.API_UPDATE, changes={"tags": many(TEXT)}
)
MEMORY_CAPSULE_EXPIRY_SET = Action(
    "memory.capsule.expiry_set", "changed when a capsule expires", Kind.API_UPDATE, changes={"expires_at": MOMENT}
)
MEMORY_CAPSULE_MERGED = Action(
    "memory.capsule.merged",
    "merged capsules into a new one",
    Kind.API_CREATE,
    has={"sources": many(TEXT), "user_id": END_USER},
)
MEMORY_CAPSULE_FORKED = Action(
    "memory.capsule.forked",
    "copied a capsule for another end user",
    Kind.API_CREATE,
    has={"source": TEXT, "from_user_id": END_USER, "user_id": END_USER},
)
MEMORY_CAPSULE_IMPORTED = Action(
    "memory.capsule.imported",
    "imported a capsule",
    Kind.API_CREATE,
    has={"user_id": END_USER, "bytes": WHOLE, "renamed": FLAG},
)
MEMORY_CAPSULE_EXPORTED = Action(
    "memory.capsule.exported",
    "exported a capsule",
    Kind.API_READ,
    has={"format": TEXT, "encrypted": FLAG, "user_id": END_USER},
    severity=Severity.LOW,
)
MEMORY_CAPSULES_EXPIRED = Action(
    "memory.capsules.expired",
    "removed capsules whose end had passed",
    Kind.API_DELETE,
    has={"capsules": WHOLE, "turns": WHOLE},
)
MEMORY_SKILL_CREATED = Action("memory.skill.created", "wrote down a skill", Kind.API_CREATE, has={"user_id": END_USER})
MEMORY_USER_DELETED = Action(
    "memory.user.deleted",
    "deleted all memories of an end user",
    Kind.API_DELETE,
    has={"capsules": WHOLE, "sessions": WHOLE, "turns": WHOLE, "triggers": WHOLE},
    severity=Severity.LOW,
)
# --- Reads, where a project's `audit_reads` is on ---
MEMORY_READ = Action(
    "memory.read",
    "read memories",
    Kind.API_READ,
    has={
        "operation": {**TEXT, "description": "recall, inject, get, list, search, snippet, diff, session or triggers."},
        "capsules": {**many(TEXT), "description": "The ids of the capsules that were given out."},
    },
    may={
        "query_hash": {**TEXT, "description": "A keyed hash of the question: the same question has the same one."},
        "user_id": END_USER,
        "session_id": TEXT,
    },
)
