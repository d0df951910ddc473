"""The table of families in docs/families.md, made from what the reader found in a small model of each.

python -m tests.hooks.families_table writes it.
"""

from importlib.metadata import version
from pathlib import Path

from gatescope.hooks.loading.routers import Routers, read_routers
from gatescope.hooks.loading.selfcheck import check
from gatescope.routing.router import RouterRule
from tests.hooks.zoo import ENTRIES, specimen

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
BEGIN, END = "<!-- made by python -m tests.hooks.families_table: begin -->", "<!-- end -->"
HEAD = "| family | class | layers | rule | ids, weights | scores | self-check |\n|---|---|---|---|---|---|---|\n"


def main() -> None:
    """Write the table into the page."""
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def with_table(text: str) -> str:
    """The page with a fresh table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def table() -> str:
    """All rows, and the versions they were made with."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("transformers", "torch"))
    return f"Checked with {versions}.\n\n{HEAD}" + "\n".join(row(name) for name in ENTRIES)


def row(name: str) -> str:
    """What is recorded of one family."""
    thing = specimen(name)
    routers = read_routers(thing.model, thing.inputs)
    report = check(routers)
    routers.close()
    failed = [one.name for one in report.checks if not one.passed]
    rules = list(dict.fromkeys(spoken(rule) for rule in routers.layers))
    cells = [
        f"`{name}`",
        f"`{type(thing.model).__name__}`",
        ", ".join(stacks(routers)),
        "; ".join(rules),
        where(routers),
        "raw" if all(one.selector is not None or one.rule.by_token_id for one in routers.learnt) else "unknown rule",
        f"fails: {', '.join(failed)}. {' '.join(report.notes)}" if failed else "passes" + said(report.notes),
    ]
    return f"| {' | '.join(cells)} |"


def spoken(rule: RouterRule) -> str:
    """The rule without the numbers of the small model, which are not the family's."""
    words = rule.sentence
    for number in ("experts", "groups"):
        words = words.replace(f"{getattr(rule, number)} {number}", number)
    words = words.replace(f"the best {rule.k} kept", "the best k kept").replace(f"{rule.k} picked", "k picked")
    words = words.replace(f"the best {rule.groups_kept} of groups", "the best groups")
    words = words.replace(f"{rule.zero_experts} of which", "some of which").replace(f"times {rule.scale:g}", "scaled")
    return (
        words.replace(f"{rule.shared_experts} shared experts", "shared experts")
        .replace("1 shared expert", "shared experts")
        .replace("shared expertss", "shared experts")
    )


def stacks(routers: Routers) -> list[str]:
    """The stacks whose layers are read, and attention where its heads are routed."""
    found = list(dict.fromkeys(rule.stack for rule in routers.layers))
    return [*found, "attention heads"] if any("attention" in rule.module for rule in routers.layers) else found


def where(routers: Routers) -> str:
    """Where ids and weights are read."""
    site = routers.sites[0]
    return "router's answer" if site.experts is None else "call of the experts"


def said(notes: tuple[str, ...]) -> str:
    return f"; {'; '.join(notes)}" if notes else ""


if __name__ == "__main__":
    main()
