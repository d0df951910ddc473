"""What is recorded inside an intervention is what the experts were called with, and beside it what the router chose.

What really ran is read where no hook can come between: in the `forward` of the experts modules themselves.
"""

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from gatescope.hooks import attach, capture, record
from gatescope.hooks.interventions.ablation import Ablated, losses_without
from gatescope.hooks.layers.probing import forward
from gatescope.hooks.layers.routes import NO_EXPERT
from gatescope.hooks.loading.routers import read_routers
from gatescope.hooks.recording.intervene import Watch
from gatescope.hooks.recording.sink import RouteSink
from gatescope.routing.errors import OptionError
from tests.hooks.test_foreign import foreign
from tests.hooks.zoo import specimen

TEXT = "What ran is what counts."
HALF = 2e-3


@dataclass(frozen=True)
class Sent:
    """Everybody of one layer who has expert `old` gets `new` instead, or half of its own weight where it has both."""

    at: int
    old: int
    new: int

    def change(self, layer, routes):
        if layer != self.at:
            return None
        return routes.ids_nk.masked_fill(routes.ids_nk == self.old, self.new), routes.weights_nk


@dataclass(frozen=True)
class Scaled:
    """One expert's weights in one layer, times a factor."""

    at: int
    expert: int
    by: float

    def change(self, layer, routes):
        if layer != self.at:
            return None
        return routes.ids_nk, routes.weights_nk.where(routes.ids_nk != self.expert, routes.weights_nk * self.by)


@dataclass(frozen=True)
class Dropped:
    """The first slot of every token in every layer: left empty, or given the weight 0."""

    leaves_empty: bool

    def change(self, _layer, routes):
        ids_nk, weights_nk = routes.ids_nk.clone(), routes.weights_nk.clone()
        if self.leaves_empty:
            ids_nk[:, 0] = NO_EXPERT
        else:
            weights_nk[:, 0] = 0
        return ids_nk, weights_nk


@dataclass
class Noted:
    """Changes nothing and keeps what it was shown."""

    seen: dict = field(default_factory=dict)

    def change(self, layer, routes):
        self.seen[layer] = routes


@contextmanager
def overheard(loaded):
    """What each layer's experts were called with, as dense weights (tokens, experts) in the block's output."""
    heard = {}
    with ExitStack() as undo:
        for site in loaded.sites:
            own = site.experts.forward

            def listening(hidden, ids_nk, weights_nk, *, site=site, own=own):
                dense_ne = torch.zeros(len(ids_nk), site.options).scatter_add(1, ids_nk, weights_nk)
                heard[site.layer] = (dense_ne * site.output_scale).numpy()
                return own(hidden, ids_nk, weights_nk)

            site.experts.forward = listening
            undo.callback(site.experts.__dict__.pop, "forward")
        yield heard


def dense(ids_tk, weight_tk, experts):
    found = np.zeros((len(ids_tk), experts + 1))
    np.add.at(found, (np.arange(len(ids_tk))[:, None], np.minimum(ids_tk, experts)), weight_tk)
    return found[:, :experts]


def of(record, layer):
    return dense(record.ids_tlk[:, layer].astype(int), record.weight_tlk[:, layer], record.layers[layer].experts)


def wanted(record, layer):
    rule = record.layers[layer]
    return dense(record.wanted_ids_tlk[:, layer].astype(int), record.wanted_weight_tlk[:, layer], rule.experts)


def busiest(record, layer):
    return int(np.bincount(record.ids_tlk[:, layer].ravel()).argmax())


def test_a_capture_holds_what_ran_and_what_was_wanted(loaded):
    plain = capture(loaded, TEXT)
    last = len(loaded.layers) - 1
    sent = Sent(0, busiest(plain, 0), 1 + busiest(plain, 0) % 7)
    with loaded.recorder.changing(sent), loaded.recorder.changing(Ablated(last, 2)), overheard(loaded) as heard:
        changed = capture(loaded, TEXT)
    for rule in loaded.layers:
        np.testing.assert_allclose(of(changed, rule.layer), heard[rule.layer], atol=HALF)
    assert not (changed.ids_tlk[:, 0] == sent.old).any()
    np.testing.assert_array_equal(changed.wanted_ids_tlk[:, 0], plain.ids_tlk[:, 0])
    np.testing.assert_array_equal(changed.wanted_weight_tlk[:, 0], plain.weight_tlk[:, 0])
    np.testing.assert_array_equal(changed.margin_tl[:, 0], plain.margin_tl[:, 0])
    assert changed.provenance.options["intervention"] == f"{sent!r}; Ablated(layer_index={last}, expert=2)"


def test_without_an_intervention_nothing_is_said_of_one(qwen):
    plain = capture(qwen, TEXT)
    assert plain.wanted_ids_tlk is None and plain.wanted_weight_tlk is None
    assert "intervention" not in plain.provenance.options


def test_scores_kept_or_not_the_router_s_choice_stands_in_its_own_place(qwen):
    with qwen.recorder.changing(Sent(1, 0, 5)):
        sinks = [RouteSink(qwen.routers.learnt, scores=s, logits=g) for s in (False, True) for g in (False, True)]
        with ExitStack() as stack:
            for sink in sinks:
                stack.enter_context(qwen.recorder.recording(sink))
            forward(qwen.model, qwen.routers.inputs)
    flushed = [sink.flush(torch.ones(48, dtype=torch.bool)) for sink in sinks]
    plain = RouteSink(qwen.routers.learnt, logits=True)
    with qwen.recorder.recording(plain):
        forward(qwen.model, qwen.routers.inputs)
    own = plain.flush(torch.ones(48, dtype=torch.bool))
    for columns in flushed:
        np.testing.assert_array_equal(columns["wanted_ids_tlk"][:, :2], own["ids_tlk"][:, :2])
        np.testing.assert_array_equal(columns["wanted_weight_tlk"][:, :2], own["weight_tlk"][:, :2])
        assert not (columns["ids_tlk"][:, 1] == 0).any()
    np.testing.assert_array_equal(flushed[3]["logit_tle"][:, :2], own["logit_tle"][:, :2])


def test_two_interventions_act_one_after_the_other(qwen):
    """Expert 0's tokens go to 5, whose weights are then a quarter; the other way round they stay whole."""
    plain = capture(qwen, TEXT)
    sent, scaled, between = Sent(0, 0, 5), Scaled(0, 5, 0.25), Noted()
    with qwen.recorder.changing(sent), qwen.recorder.changing(between), qwen.recorder.changing(scaled):
        together = capture(qwen, TEXT)
    with qwen.recorder.changing(scaled), qwen.recorder.changing(sent):
        the_other_way = capture(qwen, TEXT)
    before = of(plain, 0)
    after = before.copy()
    after[:, 5], after[:, 0] = before[:, 5] + before[:, 0], 0
    assert before[:, 0].any() and before[:, 5].any()
    np.testing.assert_allclose(of(together, 0)[:, 5], after[:, 5] / 4, atol=HALF)
    np.testing.assert_allclose(of(the_other_way, 0)[:, 5], before[:, 0] + before[:, 5] / 4, atol=HALF)
    assert not (between.seen[0].ids_nk == 0).any() and (between.seen[0].wanted.ids_nk == 0).any()
    assert between.seen[0].wanted.changed_by == (repr(sent), "Noted(seen={})", repr(scaled))


@pytest.mark.parametrize("is_first", [True, False])
def test_sinks_see_the_end_whenever_they_were_opened(qwen, is_first):
    watch, sent = Watch(), Sent(0, 0, 5)
    opened = [qwen.recorder.recording(watch), qwen.recorder.changing(sent)]
    with ExitStack() as stack:
        for each in opened if is_first else reversed(opened):
            stack.enter_context(each)
        forward(qwen.model, qwen.routers.inputs)
    assert not (watch.seen[0].ids_nk == 0).any()
    assert (watch.seen[0].wanted.ids_nk == 0).any()


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("is_raw", [True, False])
def test_recording_around_a_pass_sees_the_end_too(tokenizer, make_tiny, is_first, is_raw):
    loaded, ids_bs = attach(make_tiny("qwen3_moe"), tokenizer, name="tiny"), torch.arange(20, 44).view(2, 12)
    opened = [record(loaded.model if is_raw else loaded), loaded.recorder.changing(Sent(0, 0, 5))]
    with ExitStack() as stack:
        entered = [stack.enter_context(each) for each in (opened if is_first else reversed(opened))]
        loaded.model(input_ids=ids_bs)
    routing = next(each for each in entered if each is not None).record()
    assert not (routing.ids_tlk[:, 0] == 0).any()
    assert (routing.wanted_ids_tlk[:, 0] == 0).any()
    assert routing.provenance.options["intervention"] == repr(Sent(0, 0, 5))


def test_a_recording_of_passes_with_and_without_an_intervention_is_one_record(qwen):
    ids_bs = torch.arange(20, 32)[None]
    with record(qwen) as recording:
        qwen.model(input_ids=ids_bs)
        with qwen.recorder.changing(Sent(0, 0, 5)):
            qwen.model(input_ids=ids_bs)
    routing = recording.record()
    first, second = routing.of_documents([0]), routing.of_documents([1])
    np.testing.assert_array_equal(first.wanted_ids_tlk, first.ids_tlk)
    np.testing.assert_array_equal(second.wanted_ids_tlk[:, 0], first.ids_tlk[:, 0])
    assert (second.wanted_ids_tlk[:, 0] != second.ids_tlk[:, 0]).any()


@pytest.mark.parametrize("implementation", ["eager", "batched_mm", "grouped_mm"])
def test_a_dropped_slot_is_a_slot_of_weight_0_however_experts_are_computed(loaded, implementation):
    loaded.model.set_experts_implementation(implementation)
    try:
        with loaded.recorder.changing(Dropped(leaves_empty=True)):
            empty = forward(loaded.model, loaded.routers.inputs)
            kept = capture(loaded, TEXT)
        with loaded.recorder.changing(Dropped(leaves_empty=False)):
            weightless = forward(loaded.model, loaded.routers.inputs)
    finally:
        loaded.model.set_experts_implementation("eager")
    assert torch.equal(empty, weightless)
    assert (weightless - loaded.routers.output_nv).abs().max() > 1e-3, "it makes a difference"
    assert (kept.ids_tlk[:, :, -1] == kept.empty).all() and (kept.weight_tlk[:, :, -1] == 0).all()
    assert (kept.wanted_ids_tlk != kept.empty).all()


@pytest.mark.parametrize("name", ["switch_transformers", "zaya", "llama4", "jetmoe", "beam", "aria", "dbrx", "phimoe"])
def test_a_dropped_slot_is_a_slot_of_weight_0_in_families_read_another_way(name):
    thing = specimen(name)
    routers = read_routers(thing.model, thing.inputs)
    with routers.recorder.changing(Dropped(leaves_empty=True)):
        empty = forward(thing.model, thing.inputs)
    with routers.recorder.changing(Dropped(leaves_empty=False)):
        weightless = forward(thing.model, thing.inputs)
    routers.close()
    assert torch.equal(empty, weightless)
    assert not torch.equal(weightless, routers.output_nv)


def test_a_block_that_makes_its_weights_itself_is_recorded_with_those_it_makes():
    thing = specimen("doge")
    inputs = {name: value[:1] if torch.is_tensor(value) else value for name, value in thing.inputs.items()}
    routers, watch = read_routers(thing.model, inputs), Watch()
    old = int(routers.watch.seen[0].ids_nk[0, 0])
    new = next(each for each in range(routers.sites[0].options) if not (routers.watch.seen[0].ids_nk == each).any())
    with routers.recorder.changing(Sent(0, old, new)), routers.recorder.recording(watch):
        forward(thing.model, inputs)
    seen = watch.seen[0]
    assert (seen.ids_nk == new).any() and not (seen.ids_nk == old).any()
    torch.testing.assert_close(seen.weights_nk, seen.logits_ne.gather(1, seen.ids_nk).softmax(-1))
    for refused in (Dropped(leaves_empty=True), Dropped(leaves_empty=False)):
        with routers.recorder.changing(refused), pytest.raises(OptionError, match="makes its weights itself"):
            forward(thing.model, inputs)
    routers.close()


def test_experts_called_one_by_one_are_not_changed_behind_the_record_s_back(tokenizer):
    loaded = attach(foreign("gate"), tokenizer, name="foreign")
    assert loaded.sites[0].experts_list
    with loaded.recorder.changing(Sent(0, 0, 1)), pytest.raises(OptionError, match="experts one by one"):
        forward(loaded.model, loaded.routers.inputs)
    with pytest.raises(OptionError, match="hands no weights"):
        losses_without(loaded, [TEXT], 0, [1])
    loaded.routers.close()


def test_what_comes_back_in_another_shape_is_refused(qwen):
    class Narrow:
        def change(self, _layer, routes):
            return routes.ids_nk[:, :1], routes.weights_nk[:, :1]

    with qwen.recorder.changing(Narrow()), pytest.raises(OptionError, match=r"Narrow handed back .*\(48, 1\)"):
        forward(qwen.model, qwen.routers.inputs)


@dataclass(frozen=True)
class Given:
    """One id and one weight in the third row's first slot of one layer; whatever is None stays."""

    at: int
    expert: int | None = None
    weight: float | None = None

    def change(self, layer, routes):
        if layer != self.at:
            return None
        ids_nk, weights_nk = routes.ids_nk.clone(), routes.weights_nk.clone()
        if self.expert is not None:
            ids_nk[2, 0] = self.expert
        if self.weight is not None:
            weights_nk[2, 0] = self.weight
        return ids_nk, weights_nk


@pytest.mark.parametrize("implementation", ["eager", "batched_mm", "grouped_mm"])
@pytest.mark.parametrize("beyond", [-2, 0, 1, 1000])
def test_an_expert_that_does_not_exist_is_refused_before_experts_run(loaded, implementation, beyond):
    """One below NO_EXPERT, the first number behind the last expert, and further ones."""
    last = len(loaded.layers) - 1
    experts = loaded.layers[last].experts
    expert = beyond if beyond < 0 else experts + beyond
    loaded.model.set_experts_implementation(implementation)
    ran = []
    hook = loaded.sites[last].experts.register_forward_hook(lambda *_: ran.append(last))
    try:
        with loaded.recorder.changing(Given(last, expert=expert)), pytest.raises(OptionError) as error:
            forward(loaded.model, loaded.routers.inputs)
    finally:
        hook.remove()
        loaded.model.set_experts_implementation("eager")
    assert f"handed back expert {expert} in row 2, slot 0 of layer {last} (" in error.value.found
    assert f"0 to {experts - 1}" in error.value.expected and "NO_EXPERT (-1)" in error.value.expected
    assert not ran


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_not_finite_is_refused_before_experts_run(loaded, weight):
    ran = []
    hook = loaded.sites[0].experts.register_forward_hook(lambda *_: ran.append(0))
    with (
        loaded.recorder.changing(Given(0, weight=weight)),
        pytest.raises(OptionError, match=r"handed back the weight (nan|-?inf) in row 2, slot 0 of layer 0"),
    ):
        forward(loaded.model, loaded.routers.inputs)
    hook.remove()
    assert not ran


def test_a_weight_without_a_number_in_an_empty_slot_counts_for_nothing(qwen):
    with qwen.recorder.changing(Given(0, expert=NO_EXPERT, weight=float("nan"))), overheard(qwen) as heard:
        forward(qwen.model, qwen.routers.inputs)
    assert np.isfinite(heard[0]).all()


def test_a_weight_that_is_no_number_already_is_no_fault_of_an_intervention(qwen):
    """Rows of padding may have any weights; here the router gives no row one."""
    seen = Noted()

    def broken(_module, _args, answer):
        return tuple(torch.full_like(each, torch.nan) if each.is_floating_point() else each for each in answer)

    hook = qwen.sites[0].router.register_forward_hook(broken)
    with qwen.recorder.changing(Ablated(0, 2)), qwen.recorder.changing(seen):
        forward(qwen.model, qwen.routers.inputs)
    hook.remove()
    assert seen.seen[0].weights_nk.isnan().any()


@pytest.mark.parametrize(
    "name", ["switch_transformers", "nllb_moe", "zaya", "llama4", "jetmoe", "aria", "dbrx", "phimoe", "doge"]
)
def test_an_expert_that_does_not_exist_is_refused_in_families_read_another_way(name):
    thing = specimen(name)
    inputs = {name: value[:1] if torch.is_tensor(value) else value for name, value in thing.inputs.items()}
    routers = read_routers(thing.model, inputs)
    experts = routers.learnt[0].rule.experts
    for expert in (-2, experts):
        with (
            routers.recorder.changing(Given(0, expert=expert)),
            pytest.raises(OptionError, match=f"handed back expert {expert} "),
        ):
            forward(thing.model, inputs)
    routers.close()


def test_ids_that_are_no_whole_numbers_are_refused(qwen):
    class Scores:
        def change(self, _layer, routes):
            return routes.weights_nk, routes.weights_nk

    with qwen.recorder.changing(Scores()), pytest.raises(OptionError, match=r"ids of type torch.float32"):
        forward(qwen.model, qwen.routers.inputs)


def test_a_sink_that_hands_routes_back_is_told_where_to_do_so(qwen):
    class Old:
        def layer(self, _layer, routes):
            return routes.ids_nk, routes.weights_nk

    with qwen.recorder.recording(Old()), pytest.raises(OptionError, match=r"Old\.layer handed something back"):
        forward(qwen.model, qwen.routers.inputs)


def test_what_an_intervention_multiplies_in_has_a_gradient(qwen):
    """The derivative of the loss by the weights, along one direction, against a difference of two passes."""
    step = 1e-2
    along_nk = torch.randn(48, 3, generator=torch.Generator().manual_seed(0))

    class Times:
        def __init__(self, s_nk):
            self.s_nk = s_nk

        def change(self, layer, routes):
            return (routes.ids_nk, routes.weights_nk * self.s_nk) if layer == 1 else None

    def loss(s_nk):
        with qwen.recorder.changing(Times(s_nk)), qwen.recorder.recording(RouteSink(qwen.routers.learnt)):
            return qwen.model(**qwen.routers.inputs, labels=qwen.routers.inputs["input_ids"]).loss

    s_nk = torch.ones(48, 3, requires_grad=True)
    loss(s_nk).backward()
    with torch.no_grad():
        expected = float(loss(1 + step * along_nk) - loss(1 - step * along_nk)) / (2 * step)
    assert float((s_nk.grad * along_nk).sum()) == pytest.approx(expected, rel=1e-2)
    qwen.model.zero_grad()
