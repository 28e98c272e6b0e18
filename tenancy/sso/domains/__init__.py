"""Domains that an organization proves to be its own."""
