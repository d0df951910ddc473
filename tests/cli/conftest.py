"""The tiny models of the hooks' tests."""

from tests.hooks.conftest import folder, make_tiny, qwen, tokenizer  # noqa: F401  # fixtures
