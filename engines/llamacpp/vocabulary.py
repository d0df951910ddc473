"""The vocabulary inside a GGUF: texts to token ids and back, as llama.cpp does it."""

from ctypes import c_int32, create_string_buffer

from gatescope.engines.llamacpp.library import Library
from gatescope.routing.errors import PromptError

NO_VOCABULARY = 0
LONGEST_PIECE = 256


class Vocabulary:
    """The tokens of a loaded model."""

    def __init__(self, library: Library, model: int) -> None:
        self._call = library.call
        self._vocabulary = self._call.llama_model_get_vocab(model)
        self.size: int = self._call.llama_vocab_n_tokens(self._vocabulary)
        self.has_text: bool = self._call.llama_vocab_type(self._vocabulary) != NO_VOCABULARY

    def tokenise(self, text: str) -> list[int]:
        """Token ids, with the special tokens the model's maker puts around a text. Errors: PromptError."""
        if not self.has_text:
            raise PromptError(
                "a text for a file without a vocabulary",
                expected="token ids: this GGUF says tokenizer.ggml.model=no_vocab",
                do="pass each document as a list of token ids",
            )
        raw = text.encode("utf-8", "replace")
        room = len(raw) + 16
        while True:
            ids = (c_int32 * room)()
            count = self._call.llama_tokenize(self._vocabulary, raw, len(raw), ids, room, True, True)
            if count >= 0:
                return list(ids[:count])
            room = -count

    def is_special(self, token: int) -> bool:
        """Whether a token stands for no text, such as the mark of a beginning."""
        return self.has_text and bool(self._call.llama_vocab_is_control(self._vocabulary, token))

    def ends(self, token: int) -> bool:
        """Whether a text is over with this token."""
        return self.has_text and bool(self._call.llama_vocab_is_eog(self._vocabulary, token))

    def piece(self, token: int) -> str:
        """The text of a token; bytes that are no text alone are shown as bytes, e.g. `<E4 BD>`."""
        room = LONGEST_PIECE
        while True:
            buffer = create_string_buffer(room)
            length = self._call.llama_token_to_piece(self._vocabulary, token, buffer, room, 0, True)
            if length >= 0:
                break
            room = -length
        raw = buffer.raw[:length]
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return f"<{raw.hex(' ').upper()}>"
