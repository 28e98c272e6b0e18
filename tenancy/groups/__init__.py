"""Gives people the roles that their groups map to, as identity providers and directories name these."""
