"""How many rows a Parquet file says it has, in several places: where they differ, a reader would lose rows unsaid."""

from typing import Any


def row_fault(about: Any) -> str:
    """What is wrong with the row counts in a file's metadata (pyarrow's `FileMetaData`); empty where they agree."""
    total = 0
    for number in range(about.num_row_groups):
        group = about.row_group(number)
        total += group.num_rows
        for column in range(group.num_columns):
            values = group.column(column).num_values
            is_flat = about.schema.column(column).max_repetition_level == 0
            if values != group.num_rows if is_flat else values < group.num_rows:
                return f"row group {number} says {group.num_rows:,} rows, and its column {column} {values:,} values"
    if total != about.num_rows:
        return f"it says {about.num_rows:,} rows, and its row groups {total:,}"
    return ""


def read_fault(about: Any, read: int) -> str:
    """The same once all rows were read."""
    return f"it says {about.num_rows:,} rows, and holds {read:,}" if read != about.num_rows else ""
