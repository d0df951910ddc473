"""A study: a corpus through a model, every metric of it, and what is written of that."""
