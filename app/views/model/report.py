"""What is known of a loaded model: how it routes, the proof that its recording is true, and what exactly it is."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from gatescope.app.shell.messages import plain
from gatescope.app.shell.navigation import find_pages
from gatescope.app.views.model.blocks_figure import blocks_figure, checks_list, facts_list, framed, rule_figure, share
from gatescope.models import BUNDLED_MODELS
from gatescope.routing.groups import LayerGroup, layer_groups, span
from gatescope.server.model_worker import ModelWorker
from gatescope.server.settings import settings

if TYPE_CHECKING:  # torch takes seconds to import: a page that shows a model finds it imported already
    from gatescope.hooks import LoadedModel, SelfCheckReport

CLAIMS = {
    "routers": (
        "Every MoE layer answers once in each pass, and gives a token the number of experts it should, none twice.",
        "Do not rely on captures of this model.",
    ),
    "weights": (
        "The formula above, computed anew from the router's scores, gives the weights that were executed.",
        "Experts and weights are still recorded as executed; the gate's entropy is left out where no formula fits.",
    ),
    "choice": (
        "The rule above, computed anew from the router's scores, picks the experts that were executed.",
        "Experts and weights are still recorded as executed; margins are left out where no rule fits.",
    ),
    "repeatable": (
        "The same text takes the same routes a second time.",
        "Two captures of one text may differ: compare them with care.",
    ),
    "causal": (
        "The recorded routes are what makes the output: a token sent to another expert comes out changed, and the "
        "tokens before it do not.",
        "What is recorded may not be what produces the output.",
    ),
}
"""What each check claims, and what it means for a reader that it failed."""

CARD = "model-card"


def show_report(model: "LoadedModel", worker: ModelWorker) -> None:
    """Draw how a loaded model routes, the proof of its recording, and what exactly it is."""
    _routing(model)
    _checks(model.selfcheck)
    _identity(model, worker)
    _card(worker.name)
    st.page_link(
        find_pages()[0].path,
        label="Give this model a text",
        icon=":material/short_text:",
        query_params=None if worker.name == settings().offered[0] else {"m": worker.name},
    )
    st.caption("The same report on a command line; its exit code says whether every check passed:")
    st.code(command(worker.name), language="bash", wrap_lines=True)


def command(name: str) -> str:
    """The command that gives this report for a model of the settings."""
    words = ["gatescope", "check", name]
    for option in ("revision", "device", "dtype"):
        chosen = getattr(settings(), option)
        words += [f"--{option}", chosen] if chosen not in ("", "auto") else []
    return shlex.join(words)


def _routing(model: "LoadedModel") -> None:
    st.header("What it does with a token", divider=False)
    groups, bare = layer_groups(model.layers), model.blocks_without_experts
    rules = "one rule" if len(groups) == 1 else f"{len(groups)} rules"
    st.markdown(
        f"{len(model.layers)} layers of experts follow {rules}, read from what their routers did with a short text "
        "when the model was loaded."
    )
    if bare is not None:
        st.html(blocks_figure([rule.block for rule in model.layers], bare))
    for group in groups:
        st.html(_rule(group))


def _rule(group: LayerGroup) -> str:
    rule = group.rule
    layers = f"Layer{'s' if len(group.layers) > 1 else ''} {span(group.layers)}"
    blocks = "" if group.blocks == group.layers else f"block{'s' if len(group.blocks) > 1 else ''} {span(group.blocks)}"
    stack = "" if rule.stack == "decoder" else f"of the {rule.stack}"
    facts = [("Experts a token", share(rule))]
    if rule.shared_experts:
        facts.append(("Shared experts", f"{rule.shared_experts}, beside them for every token"))
    if rule.groups > 1:
        facts.append(("Groups", f"{rule.groups_kept} of {rule.groups}, of {rule.experts // rule.groups} experts each"))
    facts.append(("Recorded at", group.module))
    return rule_figure(layers, " ".join(filter(None, (blocks, stack))), rule, facts)


def show_trust(selfcheck: "SelfCheckReport") -> None:
    """Draw in one line whether the recording is proven."""
    failed = [check for check in selfcheck.checks if not check.passed]
    count = len(selfcheck.checks)
    if selfcheck.passed:
        st.success(
            f"**Yes: {count} of {count} checks passed.** {_when(selfcheck)}",
            icon=":material/verified:",
        )
    elif failed:
        names = ", ".join(plain(check.name) for check in failed)
        st.error(f"**Not in full: {len(failed)} of {count} checks failed** ({names}).", icon=":material/warning:")
    else:
        st.error("**Unknown: nothing was checked.**", icon=":material/warning:")


def _when(selfcheck: "SelfCheckReport") -> str:
    if not selfcheck.proven_at:
        return "They ran on this model when it was loaded, with a fixed text."
    return (
        f"They ran with a fixed text on {selfcheck.proven_at[:10]}, with the same weights, libraries, device and "
        "kernels, and were not repeated at this start."
    )


def _checks(selfcheck: "SelfCheckReport") -> None:
    st.header("Can I trust the recording?", divider=False)
    st.html(checks_list(selfcheck.checks, CLAIMS))
    for note in selfcheck.notes:
        st.warning(plain(note), icon=":material/info:")


def _identity(model: "LoadedModel", worker: ModelWorker) -> None:
    st.header("What exactly it is", divider=False)
    made = model.provenance()
    config = model.model.config
    limit = f"{worker.token_limit:,} tokens"
    if worker.prompt_limit < worker.token_limit:
        limit += f", of which this server takes {worker.prompt_limit:,} as a prompt"
    facts = [
        ("Name", made.model),
        ("Revision", made.revision or "none: read from a folder"),
        ("Fingerprint", f"{made.fingerprint or 'none'}, of its configuration, tokenizer and weights"),
        ("Class", f"{type(model.model).__name__} ({getattr(config, 'model_type', 'no type')})"),
        ("Parameters", f"{model.parameters:,}"),
        ("Number format", made.dtype),
        ("Device", made.device + _on_threads(made.threads)),
        ("Experts run by", made.experts_implementation or "not said"),
        ("Attention", made.attention or "not said"),
        ("Longest text", limit),
        ("Versions", ", ".join(f"{name} {version}" for name, version in made.versions.items())),
    ]
    st.html(framed(facts_list(facts)))


def _on_threads(number: int) -> str:
    """How many threads a CPU computes on; nothing of other devices."""
    return f", on {number} thread{'s' * (number != 1)}" if number else ""


def _card(name: str) -> None:
    """The model card of a bundled model, read when it is opened."""
    folder = BUNDLED_MODELS.get(name)
    if folder is None:
        return
    card = st.expander("Model card: how it was trained, and what it can and cannot do", on_change="rerun")
    if card.open:
        with card, st.container(key=CARD):
            st.html(f"<style>.st-key-{CARD} table {{ display: block; overflow-x: auto; }}</style>")  # not the page
            st.markdown(_card_text(folder))


def _card_text(folder: Path) -> str:
    try:
        return as_part((folder / "README.md").read_text("utf-8"))
    except OSError as error:
        return plain(f"The card cannot be read: {error.strerror}.")


def as_part(card: str) -> str:
    r"""A model card as a part of a page: no front matter, headings two steps lower, dollars no formulas.

    >>> as_part("---\nlicense: x\n---\n\n# Name\n\n$1 and $2\n\n```\n# $3\n```")
    '### Name\n\n\\$1 and \\$2\n\n```\n# $3\n```'
    """
    body = re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL).strip()
    pieces: Sequence[str] = re.split(r"(^```.*?^```)", body, flags=re.DOTALL | re.MULTILINE)
    return "".join(
        piece if number % 2 else re.sub(r"^#", "###", piece, flags=re.MULTILINE).replace("$", r"\$")
        for number, piece in enumerate(pieces)
    )
