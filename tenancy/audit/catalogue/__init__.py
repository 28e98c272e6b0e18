"""The catalogue of audited actions, by what they are about: see tenancy/audit/actions.py."""
