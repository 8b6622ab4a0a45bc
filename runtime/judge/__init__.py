"""Judges one released set by a randomly drawn holdout: copies of members, nearness to members on the whole, use, a policy."""
