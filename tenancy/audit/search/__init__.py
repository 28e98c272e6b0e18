"""What makes the audit trail easy to search: indexes, and searches that are kept under a name."""
