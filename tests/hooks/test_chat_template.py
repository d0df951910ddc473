"""A chat template is a program that came with the model: it may fail or never end, and says so in a sentence."""

import sys
import time

import pytest
from transformers import AutoTokenizer

from gatescope.hooks.text.chat import as_turn
from gatescope.hooks.text.tokens import tokenise
from gatescope.models import BUNDLED_MODEL
from gatescope.routing.errors import OptionError


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(BUNDLED_MODEL)


def given(tokenizer, template):
    tokenizer.chat_template = template
    return tokenizer


PLAIN = "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}<model>"
LOOPS = "{% for n in range(99999) %}" * 3 + "{% endfor %}" * 3


def test_a_plain_template_is_put_around_the_text(tokenizer):
    tokenizer = given(tokenizer, PLAIN)
    before = sys.gettrace()
    assert as_turn(tokenizer, "Hello") == "<user>Hello<model>" and sys.gettrace() is before
    prompt = tokenise(tokenizer, "Hello", chat=True)
    own = [token for token, around in zip(prompt.ids, prompt.is_template, strict=True) if not around]
    assert tokenizer.decode(own) == "Hello"


@pytest.mark.slow
def test_a_template_that_does_not_end_is_ended(tokenizer):
    started = time.process_time()
    with pytest.raises(OptionError, match="is not done after 2 s") as caught:
        as_turn(given(tokenizer, LOOPS), "Hello")
    assert time.process_time() - started < 10 and caught.value.do == "turn chat off" and sys.gettrace() is None


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{% for x in range(1000000) %}{% endfor %}", "OverflowError"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ raise_exception('one system message first') }}", "one system message first"),
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ nothing.here.either }}", "UndefinedError"),
        ("{{ 'a' + 1 }}", "TypeError"),
        ("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", "RecursionError"),
    ],
)
def test_a_template_that_fails_is_named_with_how(tokenizer, template, said):
    with pytest.raises(OptionError, match=said) as caught:
        as_turn(given(tokenizer, template), "Hello")
    assert caught.value.found.startswith("the model's chat template fails")
