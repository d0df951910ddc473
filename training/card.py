"""The model card: every figure in it comes from `evaluation.json`, every source from the package table."""

from collections.abc import Iterable, Sequence
from typing import Any

from gatescope.training.evidence import WORD_PERMUTATIONS
from gatescope.training.packages import NATURAL_LANGUAGES, PACKAGES

Figures = dict[str, Any]
_READERS = ("trained", "untrained")


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def _losses(measured: Figures, kind: str) -> str:
    trained, untrained = (measured[reader]["loss"][kind] for reader in _READERS)
    rows = [
        (label, row["documents"], f"{row['tokens']:,}", f"{untrained[label]['nats']:.2f}", f"{row['nats']:.2f}")
        for label, row in sorted(trained.items(), key=lambda item: item[1]["nats"])
    ]
    return _table((kind, "documents", "tokens", "untrained", "trained"), rows)


def _information(measured: Figures, group: str, name: str) -> str:
    layers, fresh = (measured[reader][group][name] for reader in _READERS)
    rows = [
        (
            number,
            *(f"{layer[key]:.3f}" for key in ("observed_bits", "null_mean_bits", "excess_bits")),
            f"{layer['p_value']:.3g}",
            f"{before['excess_bits']:.3f}",
        )
        for number, (layer, before) in enumerate(zip(layers, fresh, strict=True))
    ]
    title = f"**{name}**: at most {layers[0]['label_entropy_bits']:.2f} bits, {layers[0]['documents']:,} documents"
    head = ("layer", "observed", "mean under permutation", "excess", "p", "excess, untrained")
    return f"{title}\n\n{_table(head, rows)}"


def _words(measured: Figures) -> str:
    rows = []
    for label in ("domain", "language"):
        for number, layer in enumerate(measured["trained"]["words"][label]):
            rows.append((label, number, *_word_cells(layer)))
    head = ("label", "layer", "excess", "by words alone", "share", "agreement", "at the same word", "p", "covered")
    return _table(head, rows)


def _word_cells(layer: Figures) -> tuple[str, ...]:
    given = layer["given_words"]
    return (
        *(f"{layer[part]['excess_bits']:.3f}" for part in ("label", "words")),
        f"{layer['share_excess']:.0%}",
        f"{layer['agreement']:.2f}",
        f"{given['excess_bits']:.3f}",
        f"{given['p_value']:.3g}",
        f"{layer['covered']:.0%}",
    )


def _specialists(measured: Figures) -> str:
    rows = [
        (kind, r["label"], r["layer"], r["expert"], f"{r['lift']:.1f}", f"{r['share']:.0%}", f"{r['base']:.0%}")
        for kind in ("language", "domain")
        for r in sorted(measured["trained"]["specialists"][kind], key=lambda row: -row["lift"])
    ]
    return _table(("", "label", "layer", "expert", "lift", "share of the expert", "share of all"), rows)


def _load(measured: Figures) -> str:
    columns = zip(*(measured["trained"]["load"][key] for key in ("variation_l", "violation_l", "dead_l")), strict=True)
    rows = [(layer, f"{cv:.2f}", f"{most:.2f}", dead) for layer, (cv, most, dead) in enumerate(columns)]
    return _table(("layer", "coefficient of variation", "MaxVio", "dead experts"), rows)


def _curve(figures: Figures) -> str:
    rows = [
        (
            row["step"],
            f"{row['tokens'] / 1e6:.2f}",
            f"{row['loss']:.3f}",
            f"{row['rate']:.1e}",
            " ".join(f"{value:.2f}" for value in row["variation_l"]),
        )
        for row in figures["training"]["curve"]
    ]
    return _table(("step", "million tokens", "training loss, nats", "learning rate", "load variation by layer"), rows)


def _saturation(figures: Figures) -> str:
    rows = [
        (f"{row['tokens'] / 1e6:.2f}", f"{row['share']:.1%}", *(f"{value:.0%}" for value in row["overlap_l"]))
        for row in figures["saturation"]
    ]
    layers = range(len(figures["saturation"][0]["overlap_l"]))
    return _table(("million tokens", "of the training", *(f"layer {layer}" for layer in layers)), rows)


def _samples(figures: Figures) -> str:
    rows = [
        (row["label"], *(row[key].replace("\n", " ⏎ ").replace("|", "\\|") for key in ("begin", "written")))
        for row in figures["samples"]
    ]
    return _table(("", "held-out beginning", "continuation"), rows)


def _corpus(figures: Figures) -> str:
    rows = [(r["domain"], r["language"], r["documents"], f"{r['size_bytes'] / 1e6:.2f}") for r in figures["corpus"]]
    return _table(("domain", "language", "documents", "MB"), rows)


def _packages() -> str:
    rows = [(p.name, p.registry, p.version, p.domain, " ".join(p.languages), p.licence) for p in PACKAGES]
    return _table(("package", "registry", "version", "domain", "languages", "licence"), rows)


_CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
language: [{languages}]
tags: [mixture-of-experts]
---

# {name}

A small Mixture-of-Experts language model that ships with Gatescope, so that real, trained routing can be looked at on a
laptop with nothing to download. It has a sibling of the other kind of router, trained on the same tokens in the same
order: the two can be compared token by token.

Each of its {layers} MoE layers routes a token so: {routed}. In training: {about} ({balance}).
{total:.1f} M parameters, {active:.1f} M of them active for a token; byte-level BPE with {vocabulary:,} tokens;
{megabytes:.1f} MB in bfloat16; class `{kind}`, no code of its own.

Trained from nothing on {tokens:.2f} M tokens in {steps:,} steps of {step_tokens:,} tokens, {minutes:.0f} minutes on
{where} (torch {torch}, transformers {transformers}), one thread beside other work, seed {seed}. AdamW, peak learning
rate {rate:g}. Sources are drawn by the square root of their size.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

from gatescope.models import BUNDLED_MODELS

model = AutoModelForCausalLM.from_pretrained(BUNDLED_MODELS["{name}"])
tokenizer = AutoTokenizer.from_pretrained(BUNDLED_MODELS["{name}"])
```

## Limits

- It is an instrument for looking at routing, not a text generator: it writes locally plausible words without sense or
  truth, in any of its languages, and must not be asked for facts, advice or code to run.
- It was trained on technical manuals, help pages, law, scripture and code far more than on everyday prose. Some domains
  exist in one language only (see the corpus table), so a domain and a language partly coincide; the tables "given"
  below permute labels only among documents that share the other label.
- Parallel sources are split by page, not by meaning: the English version of a held-out French page may have been
  trained on.
- It was trained on windows of up to {context:,} tokens; longer prompts run, with routing nobody has measured.
- Routing specialises by token first. How much of what experts tell the words alone explain is in a table of its own.

## Held-out loss

{documents:,} held-out documents of {tokens_heldout:,} tokens. Untrained = the same shape with the weights training
began from. Nats a token, lower is better. All documents: {untrained:.3f} untrained, **{trained:.3f} trained**
({bits:.2f} bits a byte).

{loss_by_domain}

{loss_by_language}

## What the experts tell

Mutual information of expert and label over assignments, in bits, per layer, against the same documents with their
labels permuted ({permutations:,} permutations; p is the share of permutations at least as informative, the observed one
counted). Excess = observed less the permuted mean. "given": labels are permuted only among documents that share the
other label.

### On held-out documents

{information_heldout}

{information_token}

### On the probe set

{probe_documents:,} texts of {probe_tokens:,} tokens written for the project, which no training has seen.
"Given the passage": languages are permuted only among the translations of one passage.

{information_probe}

## What the words alone explain

On the held-out documents, in bits in excess of permuted labels ({word_permutations:,} permutations). If an expert's
choice depended on nothing but the token, the words of a label would already make some experts more frequent in it: "by
words alone" is that information, each token predicted from the other documents that hold it; "share" is its part of the
whole, and "agreement" tells whether words lead a label to the experts it really has (1) or not (0). "At the same word"
is what experts tell of the label among tokens of one id, for ids that occur ten times or more under two labels at least
("covered": the share of assignments that this speaks of).

{words}

The expert that leans most towards each label, named on one half of the documents and measured on the other. Lift =
share of the expert's assignments that come from the label, over the share of all assignments that do.

{specialists}

## Load

Over all held-out documents. MaxVio is the largest load over the mean load, less 1; dead means below 1% of the mean
load.

{load}

## Training

{curve}

How early routing settled: the share of a token's experts, in the model after so many tokens of training, that are also
its experts at the end (chance: {chance:.0%}). Captures of the same probe texts, in `captures/history/`.

{saturation}

The model was made by, in this order:

```
python -m gatescope.training.corpus
python -m gatescope.training.train {name} {budget}
python -m gatescope.training.export {name}
python -m gatescope.training.ship {name}
python -m gatescope.training.evaluate {name}
```

## What it writes

Temperature 0.7 within the best 90%, seed 0; the beginning is of a held-out document.

{samples}

## Corpus

Text comes out of package registries, by name and version; none of it is in this folder. One page in twenty is held out.

{packages}

{corpus}
"""


def _shape(figures: Figures) -> Figures:
    size, machine, run = figures["size"], figures["machine"], figures["training"]
    recipe = run["recipe"]
    return {
        "layers": size["layers"],
        "routed": size["routed"],
        "about": figures["about"],
        "balance": ", ".join(f"{key} {value:g}" for key, value in figures["balance"].items()),
        "kind": size["class"],
        "total": size["parameters"] / 1e6,
        "active": size["active_parameters"] / 1e6,
        "vocabulary": size["vocabulary"],
        "megabytes": size["weights_bytes"] / 1e6,
        "chance": size["experts_a_token"] / size["experts"],
        "tokens": run["tokens"] / 1e6,
        "steps": run["steps"],
        "minutes": run["seconds"] / 60,
        "where": machine["accelerator"] or f"{machine['processor']}, {machine['cores']} cores",
        "torch": machine["torch"],
        "transformers": machine["transformers"],
        "seed": recipe["seed"],
        "rate": recipe["learning_rate"],
        "step_tokens": recipe["step_tokens"],
        "context": max(recipe["lengths"]),
        "budget": f"--minutes {recipe['minutes']:g}" if recipe["minutes"] else f"--tokens {recipe['tokens']}",
    }


def render(figures: Figures) -> str:
    """Return the model card in Markdown."""
    heldout, trained = figures["heldout"], figures["heldout"]["trained"]
    return _CARD.format(
        name=figures["name"],
        languages=", ".join(NATURAL_LANGUAGES),
        documents=trained["documents"],
        tokens_heldout=trained["tokens"],
        permutations=figures["permutations"],
        word_permutations=figures["permutations"] // WORD_PERMUTATIONS,
        untrained=heldout["untrained"]["loss"]["nats"],
        trained=trained["loss"]["nats"],
        bits=trained["loss"]["bits_per_byte"],
        loss_by_domain=_losses(heldout, "domain"),
        loss_by_language=_losses(heldout, "language"),
        information_heldout=_all_information(heldout),
        information_token=_information(heldout, "words", "token"),
        information_probe=_all_information(figures["probe"]),
        probe_documents=figures["probe"]["trained"]["documents"],
        probe_tokens=figures["probe"]["trained"]["tokens"],
        words=_words(heldout),
        specialists=_specialists(heldout),
        load=_load(heldout),
        curve=_curve(figures),
        saturation=_saturation(figures),
        samples=_samples(figures),
        packages=_packages(),
        corpus=_corpus(figures),
        **_shape(figures),
    )


def _all_information(measured: Figures) -> str:
    return "\n\n".join(_information(measured, "information", name) for name in measured["trained"]["information"])
