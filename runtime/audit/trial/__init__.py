"""The audit of one trial: attacks, metrics, bounds, risk, utility, doubts about the data."""
