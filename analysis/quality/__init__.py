"""Whether there is enough data, and what to beware of in it."""
