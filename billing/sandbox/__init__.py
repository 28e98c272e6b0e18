"""A twin of Stripe inside this process, for installations without a Stripe key: no money moves."""
