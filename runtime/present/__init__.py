"""Rows → charts, tables, report."""
