"""Words of attacks, one file for each family: what a study may say under `audit: attacks:`."""
