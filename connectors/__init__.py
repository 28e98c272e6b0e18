"""Pulls customers' data in, on a schedule."""
