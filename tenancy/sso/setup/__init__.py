"""Lets an IT admin set single sign-on up, step by step: by a link without an account, or as a member."""
