"""The parts of the Prompt page: asking for a capture, showing one, and plain words."""
