"""Our own invoices: contracts, closed periods, lines that explain themselves, statements that prove themselves."""
