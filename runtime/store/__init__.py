"""The database: an index of the store that can always be made again from it. The only room that imports duckdb.

The driver is the only writer, into `<store>/index.duckdb`; readers get a copy, `results.duckdb`, published by atomic
replace, so that neither ever waits for the other. What a user keeps in the published file (tables, views) comes along.
Not here: tensors (`artifacts`), what the numbers mean.
"""

from runtime.store.files import export, export_compatible, parquet
from runtime.store.index import Index, Unwritable, rebuild
from runtime.store.publish import TargetBusy, check_target
from runtime.store.read import query, reading
from runtime.store.schema import SCHEMA, public
from runtime.store.words import literal

__all__ = [
    "SCHEMA", "Index", "TargetBusy", "Unwritable", "check_target", "export", "export_compatible", "literal", "parquet", "public",
    "query", "reading", "rebuild",
]
