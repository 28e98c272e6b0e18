"""The public API: the engine's routes under /api/v1, our own under /v1, and the door in front of both."""
