"""Documents through a server: the records are those of hooks on the same model, whatever the server answers in.

The stand-in speaks real HTTP on this machine, and its routes are those that the bundled model really took.
"""

import threading
import time

import numpy as np
import pytest

from gatescope.cache.importers.importer import Report
from gatescope.engines.server import capture_from_server
from gatescope.hooks import CaptureOptions, capture
from gatescope.routing import Document, Flag
from gatescope.routing.errors import OptionError, PromptError, TraceError
from tests.engines import standin
from tests.engines.standin import NAME, TEXTS, Manners, moved, run, serving

DOCUMENTS = [Document(text, f"d{n}", "here", "prose", "en") for n, text in enumerate(TEXTS)]
ENGINES = [
    {"engine": "vllm", "form": "npy"},
    {"engine": "vllm", "form": "whole"},
    {"engine": "vllm", "form": "split"},
    {"engine": "sglang"},
]


@pytest.fixture(scope="module")
def layers():
    return standin.model().layers


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Pauses between attempts of a hundredth of a second."""
    monkeypatch.setattr("gatescope.engines.transport.FIRST_PAUSE", 0.01)


def captured(address, documents=DOCUMENTS, **options):
    return list(capture_from_server(address, documents, **options))


@pytest.mark.parametrize("max_new_tokens", [0, 5])
@pytest.mark.parametrize("kind", ENGINES, ids=lambda kind: "-".join(kind.values()))
def test_the_record_is_the_one_that_hooks_make(kind, max_new_tokens, layers):
    manners, report = Manners(**kind), Report(format="")
    with serving(manners) as address:
        records = captured(address, layers=layers, max_new_tokens=max_new_tokens, report=report)
    for document, record in zip(DOCUMENTS, records, strict=True):
        own = capture(standin.model(), document.text, CaptureOptions(max_new_tokens=max_new_tokens))
        assert record.documents == (document,) and record.layers == own.layers
        np.testing.assert_array_equal(record.ids_tlk, own.ids_tlk)
        for name in ("token_t", "position_t", "document_t"):
            np.testing.assert_array_equal(getattr(record, name), getattr(own, name))
        np.testing.assert_array_equal(record.flag_t & Flag.GENERATED, own.flag_t & Flag.GENERATED)
    assert len(manners.asked) == len(DOCUMENTS), "each document is asked for once"
    assert (report.documents, report.tokens) == (3, sum(record.tokens for record in records))


@pytest.mark.parametrize("kind", ENGINES, ids=lambda kind: "-".join(kind.values()))
def test_dense_blocks_among_the_layers(kind, layers):
    blocks = (1, 2, 4, 5, 6, 7)
    with serving(Manners(blocks=blocks, hidden=9, **kind)) as address:
        records = captured(address, layers=moved(layers, blocks))
    np.testing.assert_array_equal(records[0].ids_tlk, run(TEXTS[0], 1).record.ids_tlk)
    assert [rule.block for rule in records[0].layers] == list(blocks)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_chat_and_a_beginning_that_is_not_wanted(engine, layers):
    manners = Manners(engine=engine)
    with serving(manners) as address:
        (chat,) = captured(address, DOCUMENTS[:1], layers=layers, chat=True)
        (rest,) = captured(address, DOCUMENTS[:1], layers=layers, start=4)
    one = run(TEXTS[0], 1).record
    np.testing.assert_array_equal(chat.ids_tlk, one.ids_tlk)
    np.testing.assert_array_equal(rest.ids_tlk, one.ids_tlk[4:])
    assert rest.position_t[0] == 4
    assert manners.asked[0]["messages"] == [{"role": "user", "content": TEXTS[0]}]


@pytest.mark.parametrize(("engine", "version"), [("vllm", "0.33.0"), ("sglang", "0.5.23")])
def test_what_a_capture_was_made_with(engine, version, layers):
    with serving(Manners(engine=engine)) as address:
        (record,) = captured(f"{address}/v1/", DOCUMENTS[:1], layers=layers, fingerprint="ab12", max_new_tokens=2)
    made = record.provenance
    assert (made.model, made.fingerprint, made.versions) == (NAME, "ab12", {engine: version})
    assert made.dtype == {"vllm": "", "sglang": "bfloat16"}[engine]
    assert made.options == {"max_new_tokens": 2, "start": 0, "chat": False}


def test_texts_of_token_ids_are_asked_of_the_caller(layers):
    with serving(Manners()) as address:
        spell = {token: f"<{token}>" for token in range(12288)}.__getitem__
        (record,) = captured(
            address, DOCUMENTS[:1], layers=layers, pieces=lambda ids: {token: spell(token) for token in ids}
        )
    assert set(record.pieces) == set(record.token_t.tolist())


def test_a_token_more_than_wanted_is_asked_for_greedily(layers):
    manners, other = Manners(), Manners(engine="sglang")
    with serving(manners) as address, serving(other) as another:
        captured(address, DOCUMENTS[:1], layers=layers, max_new_tokens=3)
        captured(another, DOCUMENTS[:1], layers=layers)
    (asked,) = manners.asked
    assert (asked["max_tokens"], asked["temperature"], asked["return_token_ids"]) == (4, 0, True)
    (asked,) = other.asked
    assert asked["sampling_params"] == {"max_new_tokens": 1, "temperature": 0}
    assert asked["return_routed_experts"] is True and asked["return_prompt_token_ids"] is True


def test_many_documents_are_asked_at_once_and_come_back_in_order(layers):
    documents = [Document(TEXTS[n % 3], str(n)) for n in range(24)]
    manners = Manners(pause=0.05)
    with serving(manners) as address:
        records = captured(address, documents, layers=layers, concurrency=4)
    assert [record.documents[0].id for record in records] == [str(n) for n in range(24)]
    for n, record in enumerate(records):
        np.testing.assert_array_equal(record.ids_tlk, run(TEXTS[n % 3], 1).record.ids_tlk)
    assert 2 <= manners.most_at_once <= 4


def test_documents_are_taken_as_they_are_needed(layers):
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield Document(TEXTS[0], str(len(taken)))

    with serving(Manners()) as address:
        records = capture_from_server(address, endless(), layers=layers, concurrency=2)
        for _ in range(5):
            next(records)
        records.close()
    assert len(taken) <= 5 + 2 * 2


def test_a_capture_left_early_breaks_off_what_is_still_asked(layers):
    manners = Manners()
    with serving(manners) as address:
        records = capture_from_server(address, DOCUMENTS * 9, layers=layers, concurrency=2)
        next(records)
        manners.pause = 15.0
        next(records)
        began = time.monotonic()
        records.close()
        assert time.monotonic() - began < 10
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("asking")]


def test_a_connection_serves_many_questions(layers):
    manners = Manners()
    with serving(manners) as address:
        captured(address, DOCUMENTS * 4, layers=layers, concurrency=2)
    assert len(manners.asked) == 12 and manners.connections <= 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(status, layers):
    manners = Manners(busy=4, status=status)
    with serving(manners) as address:
        records = captured(address, layers=layers, concurrency=1)
    assert len(records) == 3 and len(manners.asked) == 3 + 4


def test_a_server_that_says_how_long_is_given_that_long(layers):
    with serving(Manners(busy=1, retry_after="1")) as address:
        began = time.monotonic()
        captured(address, DOCUMENTS[:1], layers=layers, concurrency=1)
        assert time.monotonic() - began >= 1


def test_a_server_that_stays_busy_ends_the_capture(layers):
    with serving(Manners(busy=99)) as address, pytest.raises(TraceError, match=r"busy \(HTTP 429\), 6 times in a row"):
        captured(address, layers=layers, concurrency=1)


def test_an_answer_that_breaks_off_is_asked_for_again(layers):
    manners = Manners(broken=3)
    with serving(manners) as address:
        records = captured(address, layers=layers, concurrency=1)
    np.testing.assert_array_equal(records[0].ids_tlk, run(TEXTS[0], 1).record.ids_tlk)
    assert len(manners.asked) == 3 + 3


def test_answers_that_always_break_off_end_the_capture(layers):
    with serving(Manners(broken=99)) as address, pytest.raises(TraceError, match=r"broke off its answer .*6 times"):
        captured(address, layers=layers, concurrency=1)


@pytest.mark.parametrize("manners", [Manners(pause=20.0), Manners(trickle=0.002)], ids=["silent", "trickling"])
def test_a_server_that_takes_too_long_ends_the_capture_in_time(manners, layers):
    run(TEXTS[0], 1)  # so that the stand-in has nothing to compute
    with serving(manners) as address, pytest.raises(TraceError, match=r"no whole answer within 0.4 seconds"):
        captured(address, DOCUMENTS[:1], layers=layers, timeout=0.4)


@pytest.mark.parametrize(
    ("engine", "command"),
    [
        ("vllm", f"vllm serve {NAME} --enable-return-routed-experts"),
        ("sglang", "python -m sglang.launch_server --model-path /srv/sift --enable-return-routed-experts"),
    ],
)
def test_a_server_started_without_routes_is_told_how_to_start(engine, command, layers):
    returns_none = pytest.raises(TraceError, match="returns no routed experts")
    with serving(Manners(engine=engine, started=False)) as address, returns_none as caught:
        captured(address, layers=layers)
    assert caught.value.do == f"start it with: {command}"


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_an_answer_that_the_server_gave_up(engine, layers):
    broke_off = pytest.raises(TraceError, match="document 'd0': the server broke off its own work")
    with serving(Manners(engine=engine, aborts=True)) as address, broke_off:
        captured(address, layers=layers)


def test_nobody_there_and_somebody_else_there(layers):
    with serving(Manners()) as address:
        pass
    with pytest.raises(TraceError, match="cannot be reached: Connection refused"):
        captured(address, layers=layers)
    with serving(Manners(engine="other")) as address, pytest.raises(TraceError, match="neither vLLM nor SGLang"):
        captured(address, layers=layers)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_other_layers_than_the_servers_are_noticed(engine, layers):
    with serving(Manners(engine=engine)) as address, pytest.raises(TraceError, match=r"document 'd0': .*another model"):
        captured(address, layers=layers[:4])


def test_a_model_that_is_not_served_and_one_of_several(layers):
    manners = Manners(served=(NAME, "here/other"))
    with serving(manners) as address:
        with pytest.raises(TraceError, match="a server of here/sift, here/other, not of here/third"):
            captured(address, layers=layers, model="here/third")
        with pytest.raises(TraceError, match=r"a server of here/sift, here/other\n"):
            captured(address, layers=layers)
        (record,) = captured(address, DOCUMENTS[:1], layers=layers, model="here/other")
    assert (record.provenance.model, manners.asked[0]["model"]) == ("here/other", "here/other")


BAD = [Document(" \n", "blank"), Document("x" * (standin.LONGEST + 1), "long")]


@pytest.mark.parametrize("bad", BAD, ids=lambda document: document.id)
def test_documents_that_cannot_be_asked_stop_the_capture_or_are_left_out(bad, layers):
    documents, report = [DOCUMENTS[0], bad, DOCUMENTS[1]], Report(format="")
    with serving(Manners()) as address:
        with pytest.raises(PromptError, match=f"document '{bad.id}'"):
            captured(address, documents, layers=layers)
        records = captured(address, documents, layers=layers, on_fault="skip", report=report)
    assert [record.documents[0].id for record in records] == ["d0", "d1"]
    assert list(report.left_out.values()) == [1] and f"document '{bad.id}'" in next(iter(report.where.values()))[0]


def test_a_redirect_is_not_followed(layers, monkeypatch):
    monkeypatch.setenv("GATESCOPE_SERVER_API_KEY", "sk-secret")
    other = Manners()
    neither = pytest.raises(TraceError, match="neither vLLM nor SGLang")
    with serving(other) as elsewhere, serving(Manners(redirect=elsewhere)) as address, neither:
        captured(address, layers=layers)
    assert other.paths == [] and other.asked == []


def test_no_proxy_of_the_environment_is_used(layers, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with serving(Manners()) as address:
        assert len(captured(address, layers=layers)) == 3


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_the_key_is_sent_and_never_shown(engine, layers, monkeypatch, caplog, capsys):
    with serving(Manners(engine=engine, key="sk-right")) as address:
        monkeypatch.setenv("GATESCOPE_SERVER_API_KEY", "sk-right")
        (record,) = captured(address, DOCUMENTS[:1], layers=layers)
        monkeypatch.setenv("GATESCOPE_SERVER_API_KEY", "sk-wrong")
        with pytest.raises(TraceError, match="refuses to answer") as caught:
            captured(address, layers=layers)
    shown = f"{record.provenance} {caught.value} {caplog.text} {capsys.readouterr()}"
    assert "sk-" not in shown and "Incorrect key provided: …" in caught.value.found
    assert "GATESCOPE_SERVER_API_KEY" in caught.value.do


def test_a_key_that_no_header_can_carry_is_not_shown_either(layers, monkeypatch):
    monkeypatch.setenv("GATESCOPE_SERVER_API_KEY", "sk-one\nsk-two")
    with pytest.raises(OptionError, match="no header can carry") as caught:
        captured("http://127.0.0.1:9", layers=layers)
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "localhost:8000",
        "ftp://localhost",
        "http://",
        "http://me:word@localhost:8000",
        "http://a b",
        "http://a:99999",
        "",
    ],
)
def test_addresses_that_are_none(address, layers):
    with pytest.raises(OptionError, match="no address of a server") as caught:
        captured(address, layers=layers)
    assert "word@" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"concurrency": 0}, {"timeout": 0}, {"on_fault": "ask"}, {"max_new_tokens": -1}, {"start": -1}, {"layers": ()}],
)
def test_options_out_of_range_are_refused_before_anything_is_sent(options, layers):
    with pytest.raises(OptionError):
        capture_from_server("http://127.0.0.1:9", DOCUMENTS, **({"layers": layers} | options))
