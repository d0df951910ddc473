"""What a researcher would search for is found: a file or a definition under the field's own word."""

import ast
import re
from pathlib import Path

from gatescope.analysis.metrics import METRICS
from tests.installed_tree import PACKAGES

ROOT = Path(__file__).parents[1]
TERMS = (
    "heatmap", "ablation", "co-activation", "gini", "MaxVio", "hit rate", "eviction", "router logits",
    "load balance", "top-k", "shared expert", "capacity", "sidebar", "bootstrap", "permutation", "mutual information",
    "specialization", "entropy", "transition", "locality", "lru", "prefetch", "margin", "z-loss", "kept share",
    "cosine similarity", "umap", "checkpoint", "tokenizer", "hooks", "intervention", "null", "confidence",
    "routing trace", "expert load", "saturation", "effective experts", "manifest",
)  # fmt: skip


def names() -> dict[str, str]:
    """Every name of a file, function, class, constant and metric, in lower case without signs, and where it is."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            where = str(path.relative_to(ROOT))
            found[where] = where
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    found[node.name] = f"{where}:{node.lineno}"
                elif isinstance(node, ast.Assign):
                    found |= {each.id: f"{where}:{node.lineno}" for each in node.targets if isinstance(each, ast.Name)}
                elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    found[node.target.id] = f"{where}:{node.lineno}"
    return {plain(name): where for name, where in (found | {name: f"metric {name}" for name in METRICS}).items()}


def plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def test_the_field_s_words_lead_somewhere():
    known = names()
    assert [term for term in TERMS if not any(plain(term) in name for name in known)] == []
