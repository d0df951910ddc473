"""Text to tokens and back, as one tokenizer reads it."""
