"""The engine's own tests, run on our storage."""
