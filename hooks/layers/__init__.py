"""One MoE layer of a model: where it is, and how its choice is read off the modules that pass it on."""
