"""One text, token by token: quantities of the trace, and tokens that route alike."""
