"""Schema of the memory."""
