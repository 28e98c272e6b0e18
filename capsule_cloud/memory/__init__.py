"""The data plane: the engine behind one door, its storage on PostgreSQL, search."""
