"""Holds sign-in by SAML 2.0."""
