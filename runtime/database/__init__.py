"""The database: an index of the store that can always be made again from it. The only room that imports duckdb.

The driver is the only writer, into `<store>/index.duckdb`; readers get a copy, `results.duckdb`, published by atomic
replace, so that neither ever waits for the other. What a user keeps in the published file (tables, views) comes along.
Not here: tensors (`artifacts`), what the numbers mean.
"""
