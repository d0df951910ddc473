"""`gatescope capture-from`: a corpus through llama.cpp, or through a server that runs already, as a study."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatescope.cli.output import Name, command_line, errors_shown, going_on, name_of, say_where, stderr
from gatescope.routing.errors import OptionError

if TYPE_CHECKING:
    from gatescope.studies.other_engines import Route


def capture_from(
    where: Annotated[str, typer.Argument(help="A .gguf file, or the address of a vLLM or SGLang server.")],
    corpus: Annotated[str, typer.Argument(help="probe (the bundled texts), a file, a folder, or hub:owner/name.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the study (default: in the workspace).")] = None,
    name: Name = "",
    model: Annotated[str, typer.Option(help="Of a server: folder or hub id whose config.json says the layers.")] = "",
    served: Annotated[str, typer.Option(help="Of a server of several models: the name of the one to ask.")] = "",
    new_tokens: Annotated[int, typer.Option(min=0, help="Tokens to generate after each text.")] = 0,
    bad: Annotated[str, typer.Option(help="A text that cannot be read, or is refused: stop or skip.")] = "stop",
    shard: Annotated[str, typer.Option(help="This machine's part of the work, such as 2/8.")] = "1/1",
) -> None:
    """Run a corpus through llama.cpp, or through a server, and keep the routing like any other study."""
    with errors_shown(), going_on(out):
        from gatescope.cache.study import StudyFolder
        from gatescope.cli.capture import corpus_of, note, tell
        from gatescope.hooks import CaptureOptions
        from gatescope.server.landing import Asked, landing
        from gatescope.server.settings import load_settings
        from gatescope.studies.blocks import Share
        from gatescope.studies.other_engines import capture_through
        from gatescope.studies.plan import Plan

        if bad not in ("stop", "skip"):
            raise OptionError(f"--bad {bad}", expected="stop or skip", do="choose one of the two")
        settings, share = load_settings(), Share.parse(shard)
        asked = Asked(out=out, name=name, suggested=f"{name_of(corpus)}-{name_of(where)}")
        with landing(
            settings,
            asked,
            what="gatescope capture-from" + f" --shard {shard}" * (share.of > 1),
            command=command_line(),
            model=served or name_of(model or where),
            share=share.name,
        ) as place:
            asks_server = where.startswith(("http://", "https://"))
            if asks_server:
                route, made = _server(where, model, served, new_tokens, skip=bad == "skip")
            else:
                route, made = _gguf(where, new_tokens)
            plan = Plan(options=CaptureOptions(max_new_tokens=new_tokens), detail="ids" if asks_server else "weights")
            recipe = {"corpus": corpus, "engine": where, **made, "detail": plan.detail}
            folder = StudyFolder.create(place.captured, recipe)
            texts = corpus_of(corpus, bad)
            place.doing.begin("capturing")
            with stderr.status(f"asking {where}"):
                done = capture_through(
                    route,
                    texts,
                    folder,
                    plan,
                    share=share,
                    skip=bad == "skip",
                    on_progress=lambda progress: note(place.doing, progress, None),
                )
        tell(folder, done, texts)
        say_where(settings, place.id)


def _gguf(path: str, new_tokens: int) -> "tuple[Route, dict[str, Any]]":
    from gatescope.engines.llamacpp import open_gguf, stream_gguf

    opened = open_gguf(path)
    made = asdict(opened.provenance())
    del made["device"]
    return lambda documents: list(stream_gguf(opened, documents, max_new_tokens=new_tokens)), made


def _server(address: str, model: str, served: str, new_tokens: int, *, skip: bool) -> "tuple[Route, dict[str, Any]]":
    from gatescope.engines.server import capture_from_server
    from gatescope.hooks.loading.outline import outline

    if not model:
        raise OptionError(
            f"a server at {address} and no --model",
            expected="the folder or hub id of the model it serves: its config.json says the layers, which a server does"
            " not; no weights are read",
            do="add --model",
        )
    layers = outline(model)
    options: dict[str, Any] = {"layers": layers, "model": served, "max_new_tokens": new_tokens}
    options["on_fault"] = "skip" if skip else "stop"
    made = {"model": served or model, "new_tokens": new_tokens, "layers": [asdict(rule) for rule in layers]}
    return lambda documents: list(capture_from_server(address, documents, **options)), made
