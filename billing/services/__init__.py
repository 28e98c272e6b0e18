"""Writes what billing knows, one file for each matter."""
