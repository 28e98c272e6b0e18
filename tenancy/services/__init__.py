"""Writes of the tenancy room, a module a noun: organizations, projects, members, invitations, keys, signing."""
