"""What the memory writes: one function for each change, with the audit event in its transaction."""
