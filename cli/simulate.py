"""`gatescope simulate`: routes of known truth in the shape of any model, to measure detection and speed on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from gatescope.cli.output import Name, command_line, errors_shown, going_on, say_where, stderr, stdout
from gatescope.routing.errors import OptionError

if TYPE_CHECKING:
    from gatescope.server.landing import Landing
    from gatescope.simulation.geometry import Geometry
    from gatescope.simulation.routes import Simulation

FORMS = ("study", "npz")


def simulate(
    out: Annotated[Path | None, typer.Option(help="Folder, or the file (default: in the workspace).")] = None,
    name: Name = "",
    tokens: Annotated[str, typer.Option(help="How many, such as 120000 or 1e6.")] = "1e5",
    like: Annotated[
        str,
        typer.Option(help="Shape of mixtral, olmoe, qwen3-30b, qwen3-235b, gpt-oss-120b, deepseek-v3, kimi-k2 or k3."),
    ] = "",
    layers: Annotated[int, typer.Option(min=0, help="MoE layers of a shape of your own.")] = 0,
    experts: Annotated[str, typer.Option(help="Experts of each layer: one number, or one a layer: 64,64,128.")] = "",
    k: Annotated[int, typer.Option(min=0, help="Experts of a token.")] = 0,
    groups: Annotated[int, typer.Option(min=1, help="Groups of experts.")] = 1,
    top_groups: Annotated[int, typer.Option(min=0, help="Groups that a token may choose of; 0: all.")] = 0,
    documents: Annotated[int, typer.Option(min=0, help="0: one for each 400 tokens.")] = 0,
    domains: Annotated[int, typer.Option(help="How many domains there are.")] = 6,
    languages: Annotated[int, typer.Option(help="How many languages there are.")] = 3,
    vocabulary: Annotated[int, typer.Option(help="How many words there are.")] = 25_000,
    word_effect: Annotated[float, typer.Option(help="Share of the slots filled by the token's word.")] = 0.2,
    domain_effect: Annotated[float, typer.Option(help="By the domain, whatever the word.")] = 0.1,
    language_effect: Annotated[float, typer.Option(help="By the language, whatever the word.")] = 0.1,
    pair_effect: Annotated[float, typer.Option(help="By the partner of an expert that the token has.")] = 0.1,
    transition_effect: Annotated[float, typer.Option(help="By the successor of one in the layer before.")] = 0.1,
    locality_effect: Annotated[float, typer.Option(help="By an expert of the token before.")] = 0.1,
    skew: Annotated[float, typer.Option(help="Spread of the loads: deviation of their natural logarithm.")] = 0.3,
    seed: Annotated[int, typer.Option(help="The same seed gives the same routes.")] = 0,
    form: Annotated[str, typer.Option(help="study, or npz: a file for gatescope import.")] = "study",
) -> None:
    """Routes drawn at random, with effects of known size planted in them; no model makes them.

    \b
    Examples:
      gatescope simulate --like deepseek-v3 --tokens 1e6
      gatescope simulate --layers 4 --experts 64 --k 8 --tokens 1e5 --word-effect 0 --out routes
      gatescope simulate --like qwen3-30b --tokens 1e5 --form npz --out routes.npz
      gatescope analyze routes --out study

    Beside the routes lies what was planted, by layer and expert: routes/truth.json. Stopped at any moment, the same
    command goes on.
    """
    with errors_shown(), going_on(out):
        from gatescope.server.landing import Asked, landing
        from gatescope.server.settings import load_settings
        from gatescope.simulation.effects import Effects
        from gatescope.simulation.routes import Simulation
        from gatescope.simulation.texts import Texts

        if form not in FORMS:
            raise OptionError(f"--form {form}", expected=" or ".join(FORMS), do="choose one of the two")
        own = _Shape(layers, experts, k, groups, top_groups)
        texts = Texts(
            tokens=_whole("tokens", tokens),
            documents=documents,
            domains=domains,
            languages=languages,
            vocabulary=vocabulary,
        )
        effects = Effects(
            words=word_effect,
            domains=domain_effect,
            languages=language_effect,
            pairs=pair_effect,
            transitions=transition_effect,
            locality=locality_effect,
            skew=skew,
        )
        simulation = Simulation(_geometry(like, own), texts, effects, seed=seed)
        if form == "npz":
            if out is None:
                found = "--form npz, and no --out"
                raise OptionError(found, expected="a file to write", do="name one: --out routes.npz")
            _write_file(simulation, out)
            return
        settings = load_settings()
        asked = Asked(out=out, name=name, suggested=f"{'-'.join(simulation.provenance.model.split())}-{seed}")
        made = {"what": "gatescope simulate", "command": command_line(), "model": simulation.provenance.model}
        with landing(settings, asked, **made) as place:
            _write_study(simulation, place)
        say_where(settings, place.id)


class _Shape(NamedTuple):
    """A shape of one's own as it was given; 0 and "" where nothing was."""

    layers: int
    experts: str
    k: int
    groups: int
    top_groups: int


def _geometry(like: str, own: _Shape) -> "Geometry":
    """The shape that was asked for. Errors: OptionError."""
    from gatescope.simulation.geometry import free_geometry, named_geometry

    if like:
        if own != (0, "", 0, 1, 0):
            found = f"--like {like} beside a shape of your own"
            raise OptionError(found, expected="one of the two", do="leave --like out, or all the others")
        return named_geometry(like)
    if not (own.experts and own.k and (own.layers or "," in own.experts)):
        found = "no --like, and not all of --layers, --experts and --k"
        raise OptionError(found, expected="the shape of a router", do="give --like deepseek-v3, or all three")
    sizes = [_whole("experts", each) for each in own.experts.split(",")]
    return free_geometry(own.layers, sizes, own.k, groups=own.groups, groups_kept=own.top_groups or own.groups)


def _write_file(simulation: "Simulation", out: Path) -> None:
    """Write it as a file to import, and say what and where."""
    from gatescope.studies.simulating import TRUTH, write_npz

    with stderr.status("simulating") as status:
        write_npz(simulation, out, on_progress=lambda done, total: status.update(_how_far(done, total)))
    _say(simulation, out, out.with_name(f"{out.name}.{TRUTH}"))


def _write_study(simulation: "Simulation", place: "Landing") -> None:
    """Write it as a study, and say what and where."""
    from gatescope.studies.simulating import TRUTH, write_study

    place.doing.begin("simulating")
    with stderr.status("simulating") as status:

        def tell(done: int, total: int) -> None:
            status.update(_how_far(done, total))
            place.doing.what = _how_far(done, total)
            place.doing.characters, place.doing.of_characters = done, total

        write_study(simulation, place.captured, on_progress=tell)
    _say(simulation, place.captured, place.captured / TRUTH)


def _how_far(done: int, total: int) -> str:
    return f"simulating: {done:,} of {total:,} tokens"


def _say(simulation: "Simulation", where: Path, truth: Path) -> None:
    texts, shape = simulation.texts, simulation.geometry
    sizes = "-".join(dict.fromkeys(f"{count:,}" for count in shape.experts))
    sentence = f"{texts.documents:,} documents, {texts.tokens:,} tokens, simulated: {shape.layers} layers, "
    stdout.print(f"{where}: {sentence}{shape.k} of {sizes} experts", markup=False, highlight=False)
    stdout.print(f"   truth   {truth}", markup=False, highlight=False)


def _whole(name: str, given: str) -> int:
    """A whole number, also as 1e6. Errors: OptionError."""
    try:
        value = float(given)
        if value != int(value) or value < 1:
            raise ValueError
    except (ValueError, OverflowError):
        expected = "a whole number of at least 1, such as 120000 or 1e6"
        raise OptionError(f"--{name} {given}", expected=expected, do="give it so") from None
    return int(value)
