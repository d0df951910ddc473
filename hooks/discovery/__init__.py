"""The MoE layers inside any model, found by what they are, and the rules of their routers, learnt from a pass."""
