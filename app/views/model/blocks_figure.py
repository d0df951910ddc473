"""The Model page's HTML: blocks in a row, for each rule its experts as dots, the checks, and lists of facts.

A token's experts are filled dots, which say how many and not which. Everything that comes from a model is escaped.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from gatescope.routing.router import RouterRule

if TYPE_CHECKING:  # torch takes seconds to import
    from gatescope.hooks import Check

DOTS = 1024
"""Above so many experts a layer, dots would be dust: the numbers stand alone."""

STYLE = """<style>
.gs-model { --faint: color-mix(in srgb, currentColor 16%, transparent); font-size: .9375rem; line-height: 1.5; }
.gs-model p, .gs-model h3, .gs-model dl { margin: 0; padding: 0; }
.gs-model h3 { font-size: 1.05rem; font-weight: 600; }
.gs-model h3 small { font-weight: 400; opacity: .75; font-size: .875rem; margin-left: .4rem; }
.gs-model .rule { border: 1px solid var(--faint); border-radius: .5rem; padding: .9rem 1.1rem 1rem; margin: 0 0 .8rem; }
.gs-model .said { margin: .15rem 0 .75rem; text-wrap: pretty; }
.gs-model .said::first-letter { text-transform: uppercase; }
.gs-model dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .15rem 1rem; }
.gs-model dt, .gs-model dd { margin: 0; padding: 0; font-size: .875rem; }
.gs-model dt { opacity: .75; font-weight: 400; }
.gs-model dd { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.gs-model .dots { display: flex; flex-wrap: wrap; align-items: center; gap: 4px; margin: 0 0 .35rem; }
.gs-model .group { display: flex; flex-wrap: wrap; gap: 4px; padding: 5px; border: 1px dashed; border-radius: 6px;
  border-color: color-mix(in srgb, currentColor 45%, transparent); }
.gs-model .group.kept { border: 1.5px solid; }
.gs-model .dots i { width: 9px; height: 9px; box-sizing: border-box; border: 1.5px solid; border-radius: 50%;
  opacity: .55; }
.gs-model .dots i.on { background: currentColor; opacity: 1; }
.gs-model .dots i.same { border-style: dotted; }
.gs-model .dots i.shared { border-radius: 2px; background: currentColor; opacity: 1; }
.gs-model .dots i.gap { border: 0; width: 4px; }
.gs-model .key { opacity: .75; font-size: .8125rem; margin: 0 0 .75rem; }
.gs-model .blocks { display: flex; flex-wrap: wrap; gap: 3px; margin: 0 0 .35rem; }
.gs-model .blocks i { box-sizing: border-box; min-width: 26px; height: 24px; border: 1px dashed; border-radius: 4px;
  font: 400 .75rem/22px inherit; font-style: normal; text-align: center; padding: 0 4px; }
.gs-model .blocks i.moe { background: var(--faint); border-style: solid; font-weight: 600; }
.gs-model .checks { list-style: none; margin: 0; padding: 0; }
.gs-model .checks li { display: grid; grid-template-columns: 1.4rem 7rem minmax(0, 1fr); gap: 0 .5rem; margin: 0;
  padding: .65rem 0 .7rem; border-top: 1px solid var(--faint); }
.gs-model .checks li:first-child { border-top: 0; }
.gs-model .checks li.failed { border-left: 4px solid #d55e00; padding-left: 10px; margin-left: -14px; }
.gs-model .checks b { font-weight: 600; } .gs-model .checks p { text-wrap: pretty; }
.gs-model .checks .figure { opacity: .75; font-size: .875rem; overflow-wrap: anywhere; }
.gs-model .checks small { display: block; font-size: .8125rem; opacity: .8; }
@media (max-width: 640px) {
  .gs-model .checks li { grid-template-columns: 1.4rem minmax(0, 1fr); }
  .gs-model .checks li > div:last-child { grid-column: 2; }
}
</style>"""


def blocks_figure(blocks: Sequence[int], bare: Sequence[int]) -> str:
    """All blocks of a decoder in a row, those with experts filled."""
    routed = set(blocks)
    cells = "".join(
        f'<i class="moe">{block}</i>' if block in routed else f"<i>{block}</i>" for block in sorted({*blocks, *bare})
    )
    sentence = f"{len(routed)} of {len(routed) + len(bare)} blocks have experts"
    outlined = "; in the dashed ones every token meets the same weights" if bare else ""
    return (
        f'{STYLE}<div class="gs-model"><div class="blocks" role="img" aria-label="{sentence}">{cells}</div>'
        f'<p class="key">{sentence}{outlined}.</p></div>'
    )


def rule_figure(title: str, where: str, rule: RouterRule, facts: Sequence[tuple[str, str]]) -> str:
    """One rule: which layers follow it, what it says, a token's experts among all of them, and further facts."""
    small = f"<small>{escape(where)}</small>" if where else ""
    return (
        f'{STYLE}<div class="gs-model"><section class="rule"><h3>{escape(title)}{small}</h3>'
        f'<p class="said">{escape(rule.sentence)}.</p>{_dots(rule)}{facts_list(facts)}</section></div>'
    )


def facts_list(facts: Sequence[tuple[str, str]]) -> str:
    """Names and values in two columns."""
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(text)}</dd>' for name, text in facts)}</dl>"


def framed(inner: str) -> str:
    """A piece of this page that stands alone, in the page's style."""
    return f'{STYLE}<div class="gs-model">{inner}</div>'


def checks_list(checks: Sequence["Check"], claims: Mapping[str, tuple[str, str]]) -> str:
    """Every check: whether it held, what it claims, its figure, and where it failed what that means."""
    return framed(
        f'<ul class="checks">{"".join(_check(check, *claims.get(check.name, ("", ""))) for check in checks)}</ul>'
    )


def _check(check: "Check", claim: str, otherwise: str) -> str:
    mark, word, kind = ("✓", "passed", "passed") if check.passed else ("✗", "FAILED", "failed")
    claim = claim if check.passed or not claim else f"Did not hold: {claim}"
    means = f"<p><b>What this means:</b> {escape(otherwise)}</p>" if otherwise and not check.passed else ""
    return (
        f'<li class="{kind}"><b aria-hidden="true">{mark}</b>'
        f"<div><b>{escape(check.name.capitalize())}</b><small>{word}</small></div>"
        f'<div><p>{escape(claim)}</p>{means}<p class="figure">{escape(check.detail)}</p></div></li>'
    )


def share(rule: RouterRule) -> str:
    """How much of a layer's experts a token meets.

    >>> share(RouterRule(layer=0, block=0, module="m", experts=32, k=4, score="softmax"))
    '4 of 32 (12.5%)'
    """
    return f"{rule.k:,} of {rule.experts:,} ({rule.k / rule.experts:.1%})"


def _dots(rule: RouterRule) -> str:
    if rule.experts > DOTS:
        return ""
    groups = "".join(_group(rule, group) for group in range(rule.groups))
    shared = '<i class="gap"></i>' + '<i class="shared"></i>' * rule.shared_experts if rule.shared_experts else ""
    return f'<div class="dots" role="img" aria-label="{_counted(rule)}">{groups}{shared}</div>{_key(rule)}'


def _group(rule: RouterRule, group: int) -> str:
    """The experts of one group as dots; without groups all experts, in no frame."""
    size = rule.experts // rule.groups
    is_kept = group < rule.groups_kept
    taken = len(range(group, rule.k, rule.groups_kept)) if is_kept else 0
    first_same = rule.experts - rule.zero_experts - group * size
    dots = "".join(_dot(is_on=at < taken, is_same=at >= first_same) for at in range(size))
    if rule.groups == 1:
        return dots
    return f'<span class="group{" kept" if is_kept else ""}">{dots}</span>'


def _dot(*, is_on: bool, is_same: bool) -> str:
    kinds = " ".join(name for name, is_so in (("on", is_on), ("same", is_same)) if is_so)
    return f'<i class="{kinds}"></i>' if kinds else "<i></i>"


def _counted(rule: RouterRule) -> str:
    parts = [f"{rule.k} of {rule.experts} experts run for a token"]
    if rule.groups > 1:
        parts.append(f"chosen within {rule.groups_kept} of {rule.groups} groups")
    if rule.shared_experts:
        parts.append(f"{rule.shared_experts} shared beside them")
    return ", ".join(parts)


def _key(rule: RouterRule) -> str:
    """What the dots mean, in words."""
    parts = ["● a token's experts (how many, not which)"]
    parts += ["framed: a group; solid: one it may choose from"] if rule.groups > 1 else []
    parts += ["■ shared: every token's"] if rule.shared_experts else []
    parts += ["dotted: hands the token on unchanged"] if rule.zero_experts else []
    return f'<p class="key">{" · ".join(parts)}</p>'
