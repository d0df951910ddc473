"""The few families whose routers the general rule of `hooks.find` misreads: one entry each, with the reason.

A family that follows the common shape (an experts module called with hidden states, ids and weights) needs no entry.
"""

UNREADABLE: dict[str, str] = {
    "llama4": "every expert runs on inputs scaled by the router, so no expert is called with ids",
    "llama4_text": "every expert runs on inputs scaled by the router, so no expert is called with ids",
    "jetmoe": "tokens reach the experts already sorted by expert, and two layers of each block are routed",
    "doge": "experts are picked by product keys inside the block, without a router module",
    "switch_transformers": "the choice is a one-hot mask with capacity, not ids",
    "nllb-moe": "the choice is a mask over all experts, not ids",
}
