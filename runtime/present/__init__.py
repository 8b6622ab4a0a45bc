"""Turns rows of the database into charts, tables and the report."""
