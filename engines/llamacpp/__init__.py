"""Routing out of GGUF files, quantised ones too, through llama.cpp's evaluation callback.

    from gatescope.engines.llamacpp import capture_gguf, open_gguf

    with open_gguf("model-Q4_K_M.gguf") as model:
        record = capture_gguf(model, "Where does this go?", max_new_tokens=20)

Needs llama.cpp's library, which the package xllamacpp holds; see docs/gguf.md.
"""

from gatescope.engines.llamacpp.capture import capture_gguf, stream_gguf
from gatescope.engines.llamacpp.model import GgufModel, open_gguf

__all__ = ["GgufModel", "capture_gguf", "open_gguf", "stream_gguf"]
