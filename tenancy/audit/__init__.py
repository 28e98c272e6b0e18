"""What happened: the append-only audit trail of every organization."""
