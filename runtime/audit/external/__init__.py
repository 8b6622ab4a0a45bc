"""Audits of files about models that were trained elsewhere."""
