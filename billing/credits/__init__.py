"""Credits: what an organization has paid ahead or was given, and what became of it, in a double-entry ledger."""
