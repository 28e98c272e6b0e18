"""What invoicing answers, a module a noun."""
