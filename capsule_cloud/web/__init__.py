"""The customers' pages: sign-up, the console and the public site."""
