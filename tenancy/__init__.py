"""Who may enter, and how: organizations, projects, members, keys, the audit trail and the tenant wall."""
