"""The shipped probe captures analysed, so that the dashboard opens on results.

`python -m gatescope.training.ship_analysis` does it.

Beside each bundled model's `captures/probe.gsr` it writes `captures/probe/`: results, counts, and the tables that are
not metrics. To be run anew after the captures, or a metric, changed.
"""

import json
import shutil
from pathlib import Path

from gatescope.analysis.counting import tally
from gatescope.analysis.tally.files import to_bytes
from gatescope.cache.sums import write_sums
from gatescope.models import BUNDLED_MODELS
from gatescope.models.bundled_captures import folder_of, load_probe_capture
from gatescope.studies import results
from gatescope.studies.compute import Chosen, computed
from gatescope.studies.tables import about, tables

TABLES = ("composition", "common_support", "expert_words", "document_places", "nearest_neighbours")
"""Tables that ship beside the results, by the first part of their names: the others say what the results say."""


def ship(name: str, folder: Path) -> None:
    """Analyse the probe capture of a bundled model into a folder."""
    record = load_probe_capture(name)
    study = computed(tally(record), record, Chosen(), on_progress=lambda _what, _done, _total: None)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tables").mkdir(parents=True)
    (folder / results.NAME).write_bytes(results.to_bytes(study.results))
    (folder / results.TALLY).write_bytes(to_bytes(study.tally))
    description = about(study, model=name, corpus="probe")
    (folder / "study.json").write_text(json.dumps(description, indent=1, default=str), encoding="utf-8")
    for title, frame in tables(study, counts_only=False):
        if title.partition(".")[0] in TABLES:
            frame.to_parquet(folder / "tables" / f"{title}.parquet", index=False)
    write_sums(folder)


if __name__ == "__main__":
    for name in BUNDLED_MODELS:
        ship(name, folder_of(name) / "probe")
        write_sums(folder_of(name))
