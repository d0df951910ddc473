"""What is written of a study: tables, results, tally and report, complete or not at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from gatescope.analysis.counting import strip_token_ids
from gatescope.analysis.tally.files import to_bytes
from gatescope.cache.sums import write_sums
from gatescope.studies import results
from gatescope.studies.compute import Study
from gatescope.studies.export import write_csv
from gatescope.studies.out_folder import replacing
from gatescope.studies.report import report
from gatescope.studies.tables import about, names_tokens, tables

MOST_CSV_ROWS = 50_000
"""Rows of a table up to which it is written as CSV as well, where nothing else is asked for."""
Csv = Literal["small", "all", "none"]


def write_study(
    study: Study,
    out: Path,
    *,
    model: str,
    corpus: str,
    counts_only: bool,
    csv: Csv = "small",
    on_file: Callable[[str], None] = lambda _name: None,
) -> list[str]:
    """All files of a study, complete or not at all; the names of its tables. `on_file` is told each before it is made.

    Every table is written as Parquet, and as CSV where it is small, or for `all`.
    Errors: StorageFullError, StoreError.
    """

    description, names = about(study, model=model, corpus=corpus), []
    with replacing(out) as partial:
        (partial / "tables").mkdir()
        on_file("tables")
        for name, frame in tables(study, counts_only=counts_only):
            on_file(f"table {name}")
            frame.to_parquet(partial / "tables" / f"{name}.parquet", index=False, compression="zstd")
            if csv == "all" or (csv == "small" and len(frame) <= MOST_CSV_ROWS):
                write_csv(frame, partial / "tables" / f"{name}.csv")
            names.append(name)
        (partial / "study.json").write_text(json.dumps(description, indent=1, default=str), encoding="utf-8")
        kept = {key: one for key, one in study.results.items() if not (counts_only and names_tokens(one))}
        results.write_results(kept, partial)
        (partial / results.TALLY).write_bytes(to_bytes(strip_token_ids(study.tally) if counts_only else study.tally))
        on_file("report")
        (partial / "report.html").write_text(report(study, description), encoding="utf-8")
        write_sums(partial)
    return names
