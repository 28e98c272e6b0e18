"""Money, and what was used."""
