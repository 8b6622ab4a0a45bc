"""Roles of a study's samples: canaries, test set, z pool, membership, private sets."""
