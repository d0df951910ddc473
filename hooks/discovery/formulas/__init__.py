"""The ways to score, select and weigh that routers are known to have: what `rules` tries on a layer."""
