"""`gatescope analyze`: a corpus through a model, and every metric of it as tables and one page."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from gatescope.cli.output import errors_shown, stderr, stdout
from gatescope.routing.errors import OptionError
from gatescope.routing.record import Document

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.server.settings import Settings
    from gatescope.studies.compute import Chosen, Study

PROBE = "probe"


class Csv(StrEnum):
    """Which tables are written as CSV, beside Parquet."""

    SMALL = "small"
    ALL = "all"
    NONE = "none"


def analyze(
    corpus: Annotated[
        str, typer.Argument(help="probe (the bundled texts), a file, a folder, hub:owner/name, or a captured study.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for tables, results.npz, study.json, tally.npz and report.html.")],
    model: Annotated[str, typer.Option(help="A bundled model's name, a folder or a hub id.")] = "",
    metrics: Annotated[str, typer.Option(help="Metrics by name, with commas between (default: all).")] = "",
    preset: Annotated[str, typer.Option(help="The metrics of a paper: olmoe.")] = "",
    by: Annotated[str, typer.Option(help="Labels to compare by.")] = "domain,language",
    resamples: Annotated[int, typer.Option(min=0, help="Of documents, for intervals and nulls.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
    limit: Annotated[int, typer.Option(min=0, help="Most documents to read; 0: all.")] = 0,
    new_tokens: Annotated[int, typer.Option(min=0, help="Tokens to generate after each text.")] = 0,
    logits: Annotated[
        bool, typer.Option(help="Keep all router scores while counting: more metrics, more memory.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Of a captured study that is not whole: analyse the blocks that are.")
    ] = False,
    csv: Annotated[
        Csv, typer.Option(help="Which tables are written as CSV beside Parquet: those of 50,000 rows or fewer, or all.")
    ] = Csv.SMALL,
    counts_only: Annotated[bool, typer.Option(help="Write nothing that holds text or tokens.")] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps or spread.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    prove_again: Annotated[
        bool, typer.Option("--prove-again", help="Repeat the proof that what is recorded is what is executed.")
    ] = False,
) -> None:
    """Run a corpus through a model and write every metric of its routing, with nulls and intervals."""
    with errors_shown():
        from gatescope.analysis.registry import OLD_NAMES
        from gatescope.cache.study import StudyFolder, is_study
        from gatescope.server.settings import settings_with
        from gatescope.studies.compute import Chosen, study_of_folder
        from gatescope.studies.out_folder import check_out
        from gatescope.studies.wholeness import part_of
        from gatescope.studies.write import write_study

        settings = settings_with(model=model or None, device=device, dtype=dtype, prove_again=prove_again or None)
        for name in _words(metrics):
            if name in OLD_NAMES:
                stderr.print(f"{name} is now called {OLD_NAMES[name]}; the old name works until 0.3", highlight=False)
        chosen = Chosen(
            metrics=_words(metrics),
            preset=preset,
            by=_words(by),
            resamples=resamples,
            seed=seed,
            words=not counts_only,
        )
        check_out(out)
        if is_study(corpus):
            folder = StudyFolder.open(corpus)
            recipe = folder.recipe()
            with _progress() as tell:
                found = study_of_folder(folder, chosen, partial=partial, on_progress=tell)
            if found.lacks:
                stderr.print(part_of(found.lacks), highlight=False, markup=False)
            named = {"model": found.tally.provenance.model, "corpus": Path(str(recipe["corpus"])).name}
        else:
            found = _run(settings, _documents(corpus, limit), chosen, {"max_new_tokens": new_tokens, "logits": logits})
            named = {"model": settings.model, "corpus": corpus}
        files = write_study(
            found, out, counts_only=counts_only, csv=csv.value, model=named["model"], corpus=named["corpus"]
        )
        whole = found.tally
        stdout.print(f"{whole.documents:,} documents, {int(whole.table('tokens').sum()):,} tokens; {len(files)} tables")
        stdout.print(f"report   {out / 'report.html'}", highlight=False, markup=False)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _documents(corpus: str, limit: int) -> list[Document]:
    """The texts, all in memory."""
    from gatescope.corpora import open_corpus, probe

    found = probe() if corpus == PROBE else open_corpus(corpus)
    documents = list(islice(found, limit) if limit else found)
    if not documents:
        raise OptionError(f"no documents in {corpus}", expected="at least one", do="check the corpus, or --limit")
    return documents


def _run(settings: "Settings", documents: list[Document], chosen: "Chosen", options: dict[str, Any]) -> "Study":
    """Load the model and study, with progress on stderr."""
    from gatescope.hooks import CaptureOptions
    from gatescope.server.settings import load_chosen
    from gatescope.studies.compute import study

    with _progress() as tell:
        tell(f"loading {settings.model}", 0, 0)
        loaded = load_chosen(settings, on_stage=lambda stage: tell(stage, 0, 0))
        return study(loaded, documents, chosen, options=CaptureOptions(**options), on_progress=tell)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr, and how to tell it what is done."""
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda what, done, total: progress.update(
            task, description=what[:90], completed=done, total=total or None
        )
