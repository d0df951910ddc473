"""The model card: every figure in it comes from `evaluation.json`, every source from the package table."""

from collections.abc import Iterable, Sequence
from typing import Any

from models.packages import PACKAGES

Figures = dict[str, Any]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def _losses(figures: Figures, kind: str) -> str:
    trained, untrained = (figures[name]["loss"][kind] for name in ("trained", "untrained"))
    rows = [
        (label, row["documents"], f"{row['tokens']:,}", f"{untrained[label]['nats']:.2f}", f"{row['nats']:.2f}")
        for label, row in sorted(trained.items(), key=lambda item: item[1]["nats"])
    ]
    return _table((kind, "documents", "tokens", "untrained", "trained"), rows)


def _information(figures: Figures, name: str) -> str:
    rows = []
    for index, layer in enumerate(figures["trained"]["information"][name]):
        fresh = figures["untrained"]["information"][name][index]
        cells = [layer[key] for key in ("observed_bits", "null_mean_bits", "excess_bits")]
        rows.append(
            (index, *(f"{cell:.3f}" for cell in cells), f"{layer['p_value']:.3g}", f"{fresh['excess_bits']:.3f}")
        )
    first = figures["trained"]["information"][name][0]
    title = f"**{name}**: at most {first['label_entropy_bits']:.2f} bits, {first['documents']:,} documents"
    head = ("layer", "observed", "mean under permutation", "excess", "p", "excess, untrained")
    return f"{title}\n\n{_table(head, rows)}"


def _specialists(figures: Figures) -> str:
    rows = [
        (kind, r["label"], r["layer"], r["expert"], f"{r['lift']:.1f}", f"{r['share']:.0%}", f"{r['base']:.0%}")
        for kind in ("language", "domain")
        for r in sorted(figures["trained"]["specialists"][kind], key=lambda row: -row["lift"])
    ]
    return _table(("", "label", "layer", "expert", "lift", "share of the expert", "share of all"), rows)


def _load(figures: Figures) -> str:
    columns = zip(*(figures["trained"]["load"][key] for key in ("variation_l", "violation_l", "dead_l")), strict=True)
    rows = [(layer, f"{cv:.2f}", f"{most:.2f}", dead) for layer, (cv, most, dead) in enumerate(columns)]
    return _table(("layer", "coefficient of variation", "MaxVio", "dead experts"), rows)


def _curve(figures: Figures) -> str:
    rows = [
        (row["step"], f"{row['tokens'] / 1e6:.2f}", f"{row['loss']:.3f}", f"{row['rate']:.1e}")
        for row in figures["training"]["curve"]
    ]
    return _table(("step", "million tokens", "training loss, nats", "learning rate"), rows)


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
language: [ar, de, en, es, fr, ja, ru, zh]
tags: [mixture-of-experts]
---

# {name}

A small Mixture-of-Experts language model that ships with Gatescope, so that real, trained routing can be looked at on a
laptop with nothing to download.

{layers} layers, each with {experts} routed experts of which a token uses {chosen} (softmax over all, top-{chosen},
weights renormalised); {total:.1f} M parameters, {active:.1f} M active; byte-level BPE with {vocabulary:,} tokens;
{megabytes:.1f} MB in bfloat16; class `Qwen3MoeForCausalLM`.

Trained from nothing on {tokens:.2f} M tokens in {steps:,} steps, {minutes:.0f} minutes on {where} (torch {torch},
transformers {transformers}), seed {seed}. AdamW, peak learning rate {rate:g}, {step_tokens:,} tokens a step,
load-balancing weight {balance:g} a layer on a running mean of the load, router z-loss {z:g}. Sources are drawn by the
square root of their size.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

from models import BUNDLED_MODEL

model = AutoModelForCausalLM.from_pretrained(BUNDLED_MODEL)
tokenizer = AutoTokenizer.from_pretrained(BUNDLED_MODEL)
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
- A run of so many minutes follows the clock: repeating it gives a similar model, not the same one. A run of so many
  tokens (`--tokens`) repeats itself.
- Routing specialises by token first. What the words alone explain is part of every number in the tables below.

## Held-out loss

{documents:,} held-out documents, {predicted:,} predicted tokens (the first {length} of each). Untrained = the same
shape with the weights training began from. Nats a token, lower is better. All documents: {untrained:.3f} untrained,
**{trained:.3f} trained** ({bits:.2f} bits a byte).

{loss_by_domain}

{loss_by_language}

## What the experts tell

Mutual information of expert and label over assignments, in bits, per layer, against the same documents with their
labels permuted ({permutations:,} permutations; p is the share of permutations at least as informative). Excess =
observed less the permuted mean.

{information}

The expert that leans most towards each label, named on one half of the documents and measured on the other. Lift =
share of the expert's assignments that come from the label, over the share of all assignments that do.

{specialists}

## Load

Over all held-out documents. MaxVio is the largest load over the mean load, less 1; dead means below 1% of the mean
load.

{load}

## Training

{curve}

The model was made by, in this order:

```
python -m models.corpus
python -m models.train {budget}
python -m models.export
python -m models.evaluate
```

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
        "experts": size["experts"],
        "chosen": size["experts_a_token"],
        "total": size["parameters"] / 1e6,
        "active": size["active_parameters"] / 1e6,
        "vocabulary": size["vocabulary"],
        "megabytes": size["weights_bytes"] / 1e6,
        "tokens": run["tokens"] / 1e6,
        "steps": run["steps"],
        "minutes": run["seconds"] / 60,
        "where": machine["accelerator"] or f"{machine['processor']}, {machine['cores']} cores",
        "torch": machine["torch"],
        "transformers": machine["transformers"],
        "seed": recipe["seed"],
        "rate": recipe["learning_rate"],
        "step_tokens": recipe["step_tokens"],
        "balance": recipe["balance_weight"],
        "z": recipe["z_weight"],
        "context": max(recipe["lengths"]),
        "budget": f"--minutes {recipe['minutes']:g}" if recipe["minutes"] else f"--tokens {recipe['tokens']}",
    }


def render(figures: Figures) -> str:
    """Return the model card in Markdown."""
    heldout, trained = figures["heldout"], figures["trained"]["loss"]
    return _CARD.format(
        name=figures["name"],
        documents=heldout["documents"],
        predicted=heldout["tokens"],
        length=heldout["length"],
        permutations=heldout["permutations"],
        untrained=figures["untrained"]["loss"]["nats"],
        trained=trained["nats"],
        bits=trained["bits_per_byte"],
        loss_by_domain=_losses(figures, "domain"),
        loss_by_language=_losses(figures, "language"),
        information="\n\n".join(_information(figures, name) for name in figures["trained"]["information"]),
        specialists=_specialists(figures),
        load=_load(figures),
        curve=_curve(figures),
        packages=_packages(),
        corpus=_corpus(figures),
        **_shape(figures),
    )
