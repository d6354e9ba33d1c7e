"""Packets for the tools that people analyse with: Arrow record batches, hence Parquet, DuckDB, polars.

>>> table = export.reader(capture, decode=True).read_all()

Needs pyarrow and numpy: ``pip install 'pypcapzc[arrow]'``.  docs/export.md has the columns.
"""

from __future__ import annotations

from .arrow import COLUMNS, batches, reader, record_batch, schema
from .parquet import ParquetWriter

__all__ = ["COLUMNS", "ParquetWriter", "batches", "reader", "record_batch", "schema"]
