"""`gatescope capture`: a corpus of any length through a model into a folder, measured as often as one likes."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from gatescope.cli.output import (
    Name,
    ProveAgain,
    command_line,
    errors_shown,
    going_on,
    name_of,
    say_where,
    stderr,
    stdout,
)
from gatescope.routing.errors import OptionError
from gatescope.routing.record import Document

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.cache.study import StudyFolder
    from gatescope.hooks import LoadedModel
    from gatescope.routing.router import RouterRule
    from gatescope.server.settings import Settings
    from gatescope.server.study_progress import StudyProgress
    from gatescope.studies.blocks import Seen, Share
    from gatescope.studies.plan import Plan
    from gatescope.studies.run_blocks import Progress

Word = TypeVar("Word", bound=str)

PROBE = "probe"
SHOWN = 20


def capture(
    corpus: Annotated[str, typer.Argument(help="probe (the bundled texts), a file, a folder, or hub:owner/name.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the study (default: in the workspace).")] = None,
    name: Name = "",
    model: Annotated[str, typer.Option(help="A bundled model's name, a folder or a hub id.")] = "",
    detail: Annotated[str, typer.Option(help="counts, ids or weights: what is kept of every token.")] = "weights",
    scores: Annotated[float, typer.Option(min=0, max=1, help="Share of documents to keep all scores of.")] = 0.0,
    long: Annotated[str, typer.Option(help="A text too long for the model: split, skip or stop.")] = "split",
    bad: Annotated[str, typer.Option(help="A row that cannot be read: stop or skip.")] = "stop",
    new_tokens: Annotated[int, typer.Option(min=0, help="Tokens to generate after each text.")] = 0,
    shard: Annotated[str, typer.Option(help="This machine's part of the work, such as 2/8.")] = "1/1",
    engine: Annotated[str, typer.Option(help="local, or ray: on every machine of a Ray cluster.")] = "local",
    workers: Annotated[int, typer.Option(min=0, help="Of ray; 0: one for each GPU, or one.")] = 0,
    batch_tokens: Annotated[int, typer.Option(min=0, help="Places in a batch; 0: find out.")] = 0,
    verify: Annotated[bool, typer.Option("--verify", help="First read every byte of what is there already.")] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps or spread.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of a hub model.")] = None,
    prove_again: ProveAgain = False,
) -> None:
    """Run a corpus through a model and keep its routing. Stopped at any moment, the same command goes on.

    It stands in the Library of the dashboard from its first block on, unless --out names a folder and --name nothing.
    """
    with errors_shown(), going_on(out):
        from gatescope.cache.study import StudyFolder
        from gatescope.hooks import CaptureOptions
        from gatescope.server.landing import Asked, landing
        from gatescope.server.settings import settings_with
        from gatescope.studies.blocks import Share
        from gatescope.studies.plan import Detail, Long, Plan

        _check("bad", bad, ("stop", "skip"))
        _check("engine", engine, ("local", "ray"))
        long_texts: Long = _check("long", long, ("split", "skip", "stop"))
        kept: Detail = _check("detail", detail, ("counts", "ids", "weights"))
        settings = settings_with(
            model=model or None, device=device, dtype=dtype, revision=revision, prove_again=prove_again or None
        )
        texts, share = corpus_of(corpus, bad), Share.parse(shard)
        asked = Asked(out=out, name=name, suggested=f"{name_of(corpus)}-{name_of(settings.model)}")
        with landing(
            settings,
            asked,
            what="gatescope capture" + f" --shard {shard}" * (share.of > 1),
            command=command_line(),
            model=settings.model,
            share=share.name,
        ) as place:
            seen = _counted(texts) if not corpus.startswith("hub:") else None
            plan = Plan(
                options=CaptureOptions(max_new_tokens=new_tokens),
                detail=kept,
                scores=scores,
                long=long_texts,
                batch_tokens=batch_tokens or _begun_with(place.captured),
            )
            place.doing.begin("loading the model")
            with _local(settings) if engine == "local" else _on_ray(settings, workers) as running:
                plan, recipe, layers = running.ask(_fitted, plan, corpus, _first(texts))
                folder = StudyFolder.create(place.captured, recipe)
                _mend(folder, verify=verify)
                _say(_sizes(layers, plan, seen))
                done = _run(running, texts, folder, plan, share, seen, place.doing)
                running.finish(folder, done)
        tell(folder, done, texts)
        say_where(settings, place.id)


def _check(name: str, given: str, known: tuple[Word, ...]) -> Word:
    """The one of some words that was given. Errors: OptionError."""
    for word in known:
        if word == given:
            return word
    raise OptionError(f"--{name} {given}", expected=" or ".join(known), do="choose one of these")


def _mend(folder: "StudyFolder", *, verify: bool) -> None:
    """Say what is not as it was written; it is captured again."""
    damaged = [sentence for _, sentence in folder.verify()] if verify else []
    for sentence in (*damaged, *folder.troubles()):
        _say(f"found: {sentence}")


def corpus_of(corpus: str, bad: str) -> Iterable[Document]:
    """Documents that can be read again and again, one at a time."""
    from gatescope.corpora import open_corpus, probe

    return probe() if corpus == PROBE else open_corpus(corpus, bad="skip" if bad == "skip" else "refuse")


def _counted(texts: Iterable[Document]) -> "Seen":
    """How many documents and characters there are, and, before anything runs, whether all can be read."""
    from gatescope.studies.blocks import Seen

    seen = Seen()
    with stderr.status("reading the corpus"):
        for document in texts:
            seen.add(document)
    return seen


def _begun_with(out: Path) -> int:
    """Places in a batch of a study that was begun; else 0."""
    from gatescope.cache.study import StudyFolder, is_study

    return int(StudyFolder.open(out).recipe().get("batch_tokens", 0)) or 1024 if is_study(out) else 0


def _first(texts: Iterable[Document]) -> tuple[Document, ...]:
    """The documents of the first block."""
    from gatescope.studies.blocks import Seen, cut

    block = next(cut(texts, Seen()), None)
    return block.documents if block is not None else ()


def _fitted(
    model: "LoadedModel", plan: "Plan", corpus: str, first: Sequence[Document]
) -> "tuple[Plan, Mapping[str, Any], tuple[RouterRule, ...]]":
    """A plan as it fits the model, the recipe of a study made so, and the layers there are."""
    from gatescope.studies.plan import fitted

    plan = fitted(model, plan, first)
    return plan, plan.recipe(model, corpus), model.layers


class _Running(NamedTuple):
    """Where the model is: how a function is asked of it, a study captured with it, and what is done at the end."""

    ask: Callable[..., Any]
    capture: "Callable[..., Progress]"
    finish: "Callable[[StudyFolder, Progress], object]" = lambda _folder, _done: None


@contextmanager
def _local(settings: "Settings") -> Iterator[_Running]:
    """One model, in this process."""
    from gatescope.server.settings import load_chosen
    from gatescope.studies.capturing import capture_study

    with stderr.status("loading") as status:
        loaded = load_chosen(settings, on_stage=status.update)
    yield _Running(lambda question, *arguments: question(loaded, *arguments), partial(capture_study, loaded))


@contextmanager
def _on_ray(settings: "Settings", workers: int) -> Iterator[_Running]:
    """A model in every worker of a cluster, and none here."""
    from gatescope.server.settings import model_source
    from gatescope.studies.ray_cluster import capture_on_cluster, cluster
    from gatescope.studies.ray_worker import Replica

    replica = Replica.of(
        model_source(settings.model), revision=settings.revision, device=settings.device, dtype=settings.dtype
    )
    with cluster(replica, workers, _warn) as running:
        _say(running.room.described)

        def add_up(folder: "StudyFolder", done: "Progress") -> None:
            blocks = folder.finished()
            if len(blocks) == done.blocks and any(block.documents for block in blocks.values()):
                with stderr.status("adding up"):
                    running.whole_tally(folder)

        yield _Running(running.ask, partial(capture_on_cluster, running), add_up)
        for place in running.lost:
            _say(f"lost on the way, replaced, its blocks captured again: process {place.process} on {place.host}")


def _sizes(rules: "Sequence[RouterRule]", plan: "Plan", seen: "Seen | None") -> str:
    """What the study will take on the disk, said before it begins: raw bytes, which compression makes fewer."""
    layers = len(rules)
    slots = layers * max(rule.k for rule in rules)
    wide = 2 if max(rule.experts for rule in rules) > 255 else 1
    itself = 21  # token, document, position, flag, loss and prediction
    weights = itself + (wide + 2) * slots + (6 + wide) * layers
    bytes_a_token = itself + wide * slots if plan.detail == "ids" else weights
    scores = plan.scores * (weights + 2 * layers * max(rule.experts for rule in rules))
    least = sum(math.log2(math.comb(rule.experts, rule.k)) for rule in rules) / 8
    sentence = "counts: tallies only"
    if plan.detail != "counts":
        sentence = f"{plan.detail}: {bytes_a_token + scores:,.0f} bytes a token before compression, beside the tallies"
        sentence += f" (ids alone cannot take less than {least:,.0f})"
    if seen is not None:
        sentence += (
            f"\n{seen.documents:,} documents, {seen.characters:,} characters, of which {seen.twice:,} texts twice"
        )
    return sentence + f"; batches of {plan.batch_tokens:,} places"


def _run(
    running: _Running,
    texts: Iterable[Document],
    folder: "StudyFolder",
    plan: "Plan",
    share: "Share",
    seen: "Seen | None",
    doing: "StudyProgress",
) -> "Progress":
    """Capture with a bar: documents, tokens a second, and the time that is left; `doing` is told the same."""
    doing.begin("capturing")
    doing.of_documents, doing.of_characters = (seen.documents, seen.characters) if seen else (0, 0)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[sentence]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=stderr, transient=True) as bars:
        task = bars.add_task("capturing", total=seen.characters if seen else None, sentence="")

        def tell(progress: "Progress") -> None:
            speed = progress.tokens / max(progress.seconds, 1e-9)
            sentence = f"{progress.seen.documents:,} documents, {speed:,.0f} tokens/s"
            bars.update(task, completed=progress.seen.characters, sentence=sentence)
            note(doing, progress, seen)

        return running.capture(iter(texts), folder, plan, share=share, on_progress=tell)


def note(doing: "StudyProgress", progress: "Progress", seen: "Seen | None") -> None:
    """How far a capture is, for whoever looks at the Library; `seen` is all there is to read, where that is known."""
    doing.documents, doing.characters = progress.seen.documents, progress.seen.characters
    doing.of_documents = seen.documents if seen else 0
    doing.of_characters = seen.characters if seen else 0
    doing.tokens, doing.seconds = progress.tokens, progress.seconds
    doing.new_characters = doing.characters if seen and not progress.there else 0


def tell(folder: "StudyFolder", done: "Progress", texts: Iterable[Document]) -> None:
    """What is there, and everything that is not."""
    blocks = folder.finished()
    tokens, documents = (sum(getattr(block, name) for block in blocks.values()) for name in ("tokens", "documents"))
    size = sum(size for block in blocks.values() for _, size in block.parts.values())
    left_out = [f"{name}: {why}" for block in blocks.values() for name, why in block.left_out]
    was_cut = [f"{name}: {how}" for block in blocks.values() for name, how in block.was_cut]
    read = sum(block.read for block in blocks.values())
    _say(
        f"{folder.folder}: {len(blocks)} of {done.blocks} blocks, {tokens:,} tokens, "
        f"{size:,} bytes ({size / max(tokens, 1):.1f} a token)"
    )
    _say(f"{read:,} documents: {read - len(left_out):,} captured, as {documents:,} texts; {len(left_out):,} left out")
    _say(f"this run: {done.tokens:,} tokens in {done.seconds:.1f} s; {done.there} blocks were there already")
    everything = f"{folder.blocks_folder}/*.json"
    _list("left out", left_out, len(left_out), everything)
    _list("cut", was_cut, len(was_cut), everything)
    report = getattr(texts, "report", None)
    if report is not None:
        _list("not read", [problem.found for problem in report.problems], report.bad.total(), "the corpus")
        _list("not read", [f"{name}: no known format" for name in report.passed_over], len(report.passed_over), "")
    _list("a text for the second time:", done.seen.where, done.seen.twice, "the corpus")


def _list(title: str, entries: Sequence[str], total: int, where: str) -> None:
    """The first entries, and how many more there are."""
    for entry in entries[:SHOWN]:
        _say(f"{title} {entry}")
    if total > SHOWN:
        _say(f"{title} … and {total - SHOWN:,} more, in {where}")


def _say(line: str) -> None:
    stdout.print(_shown(line), highlight=False, markup=False)


def _warn(line: str) -> None:
    """Beside the bar, at once."""
    stderr.print(_shown(line), highlight=False, markup=False)


def _shown(line: str) -> str:
    return line.encode("utf-8", "backslashreplace").decode("utf-8")  # a file may be called what no terminal can show
