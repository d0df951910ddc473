"""The recipe that trained the bundled models: from packages of text to weights, captures and cards."""
