"""Doors to the outside: no models, imports no room."""
