"""Tables of setup links and begun setups."""
