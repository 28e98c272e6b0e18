"""Sends the sealed trail to where customers watch theirs: in order, at least once, with what proves it."""
