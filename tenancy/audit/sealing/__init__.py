"""Proves the trail: a Merkle tree for each organization, signed checkpoints, and one log of all of them."""
