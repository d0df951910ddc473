"""The ways to score, select and weigh that routers are known to have: what `hooks.rules` tries on a layer."""
