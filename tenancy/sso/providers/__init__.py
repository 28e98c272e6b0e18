"""Holds the identity providers of organizations, and who signs in by them."""
