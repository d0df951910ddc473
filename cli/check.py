"""`gatescope check MODEL`: how a model routes, and whether its recording is proven.

Exit code 0: every check passed; 1: one failed, or the model cannot be read; 2: the command was misused. With `--json`
one object is written to stdout, `{"error": {kind, found, expected, do}}` where the model cannot be read, else

    model                   name, revision, fingerprint, class, type, parameters, dtype, device, experts_implementation,
                            attention, versions (of each library)
    layers                  for each rule that occurs: layers and blocks (their numbers), stack, module (its path, * for
                            a number), experts, k, shared_experts, rule (in words)
    blocks_without_experts  their numbers; null where there are several stacks
    checks                  for each check: name, passed, detail (the figure behind it)
    notes                   what a reader must know beside the checks, in sentences
    passed                  whether every check did
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from gatescope.cli.output import errors_shown, stderr
from gatescope.routing.groups import LayerGroup, layer_groups, span

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.hooks import LoadedModel, SelfCheckReport

_UNWRAPPED = 10_000  # columns of a file or pipe: whoever searches it finds each path and rule in one piece


def summary(model: "LoadedModel") -> dict[str, Any]:
    """What `--json` writes."""
    made, config = model.provenance(), model.model.config
    return {
        "model": {
            "name": made.model,
            "revision": made.revision,
            "fingerprint": made.fingerprint,
            "class": type(model.model).__name__,
            "type": getattr(config, "model_type", ""),
            "parameters": model.parameters,
            "dtype": made.dtype,
            "device": made.device,
            "experts_implementation": made.experts_implementation,
            "attention": made.attention,
            "versions": dict(made.versions),
        },
        "layers": [_row(group) for group in layer_groups(model.layers)],
        "blocks_without_experts": model.blocks_without_experts,
        "checks": [
            {"name": check.name, "passed": check.passed, "detail": check.detail} for check in model.selfcheck.checks
        ],
        "notes": list(model.selfcheck.notes),
        "passed": model.selfcheck.passed,
    }


def _row(group: LayerGroup) -> dict[str, Any]:
    rule = group.rule
    return {
        "layers": group.layers,
        "blocks": group.blocks,
        "stack": rule.stack,
        "module": group.module,
        "experts": rule.experts,
        "k": rule.k,
        "shared_experts": rule.shared_experts,
        "rule": rule.sentence,
    }


def check(
    model: Annotated[str, typer.Argument(help="A bundled model's name, a folder, or a hub id.")],
    revision: Annotated[str, typer.Option(help="Commit, tag or branch of a hub model.")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps or spread.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the model; read it first.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout.")] = False,
) -> None:
    """Load a model, find its routers, and prove that what would be recorded is what is executed."""
    with errors_shown(as_json), _loading(model) as on_stage:
        from gatescope.hooks import load_model
        from gatescope.server.settings import model_source

        source = model_source(model)
        loaded = load_model(
            source,
            revision=revision,
            device=device,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            on_stage=on_stage,
        )
    report(loaded, as_json=as_json)


@contextmanager
def _loading(name: str) -> Iterator[Callable[[str], None]]:
    """What is being done and how long it has taken so far, on a terminal's stderr; how to tell what is done."""
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        task = progress.add_task(f"loading {name}")
        yield lambda stage: progress.update(task, description=stage)


def report(model: "LoadedModel", *, as_json: bool) -> None:
    """Write what was found; exits with code 1 where a check failed."""
    found = summary(model)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _print(found, model)
    if not model.selfcheck.passed:
        raise typer.Exit(1)


def _print(found: dict[str, Any], model: "LoadedModel") -> None:
    out = Console(soft_wrap=True)
    if not out.is_terminal:
        out.width = _UNWRAPPED
    made = found["model"]
    lines = {
        "model": " @ ".join(filter(None, (made["name"], made["revision"]))),
        "class": f"{made['class']} ({made['type']}), {made['parameters']:,} parameters",
        "runs in": f"{made['dtype']} on {made['device']}, experts {made['experts_implementation'] or 'not said'}, "
        f"attention {made['attention'] or 'not said'}",
        "versions": ", ".join(f"{name} {version}" for name, version in made["versions"].items()),
        "weights": f"fingerprint {made['fingerprint'] or 'none: not from files'}",
        "blocks": _blocks(found["blocks_without_experts"]),
    }
    for name, text in lines.items():
        _say(out, f"{name:<11}{text}")
    out.print()
    out.print(_layers(layer_groups(model.layers)))
    out.print()
    out.print(_checks(model.selfcheck))
    out.print()
    for note in model.selfcheck.notes:
        _say(out, f"note: {note}")
    _say(out, verdict(model.selfcheck))


def _blocks(bare: list[int] | None) -> str:
    if bare is None:
        return "not counted"
    return f"without experts: {span(bare)}" if bare else "all with experts"


def _layers(groups: Sequence[LayerGroup]) -> Table:
    table = Table("layers", "blocks", "experts", "k", "module", "rule", box=None, pad_edge=False)
    for group in groups:
        rule = group.rule
        stack = "" if rule.stack == "decoder" else f" ({rule.stack})"
        cells = span(group.layers), span(group.blocks) + stack, f"{rule.experts:,}", str(rule.k), group.module
        table.add_row(*map(Text, (*cells, rule.sentence)))
    for column in table.columns:
        column.overflow = "fold"
    return table


def _checks(selfcheck: "SelfCheckReport") -> Table:
    table = Table("check", "", "figure", box=None, pad_edge=False)
    for check in selfcheck.checks:
        table.add_row(*map(Text, (check.name, "passed" if check.passed else "FAILED", check.detail)))
    return table


def verdict(selfcheck: "SelfCheckReport") -> str:
    """The outcome of all checks in one sentence.

    >>> from gatescope.hooks import SelfCheckReport
    >>> verdict(SelfCheckReport())
    'NOT PROVEN: nothing was checked'
    """
    failed = [check.name for check in selfcheck.checks if not check.passed]
    count = len(selfcheck.checks)
    if failed:
        return f"NOT PROVEN: {len(failed)} of {count} checks failed: {', '.join(failed)}"
    return f"proven: {count} of {count} checks passed" if count else "NOT PROVEN: nothing was checked"


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False)
