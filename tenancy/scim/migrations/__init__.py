"""Tables of single sign-on."""
