"""What the memory reads."""
