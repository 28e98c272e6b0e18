"""The directories of an organization, and the tokens by which they write."""
