"""Lets an organization's directory say who its people are and which groups they are in, by SCIM 2.0."""
