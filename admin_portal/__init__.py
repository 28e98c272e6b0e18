"""The staff console: support works here, and every step leaves a trace that the customer can read."""
