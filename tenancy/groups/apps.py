"""The groups app."""

from django.apps import AppConfig


class GroupsConfig(AppConfig):
    """Which groups give which roles, and what identity providers and directories say of people's groups."""

    name = "tenancy.groups"
    label = "groups"
