"""Whose rows are whose: what a forward pass of other people's code was given, and the documents its rows belong to."""
