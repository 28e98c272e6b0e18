"""Kills the product's processes under load and counts what is left."""
