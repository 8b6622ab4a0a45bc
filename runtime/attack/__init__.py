"""Membership inference attacks, one file each. HIGHER SCORE MEANS MEMBER, everywhere."""
