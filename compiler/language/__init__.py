"""The language: one file per word of a study. Frozen pydantic models, strict, closed; a docstring under every field.

Text is checked against these models after grids were expanded, so every field here is plain: no "int or grid".
"""
