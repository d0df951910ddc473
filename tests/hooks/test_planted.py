"""The conformance tests would notice: a reader with a fault planted in it fails them, fault by fault.

The faults are planted between the hooks of the real reader and the comparison, on families with padding-free batches, a
selection bias, groups, and experts that may be full.
"""

import pytest

from gatescope.hooks.layers.probing import forward
from gatescope.hooks.loading.routers import read_routers
from gatescope.hooks.recording.intervene import Watch
from gatescope.hooks.recording.recorder import Recorder
from gatescope.hooks.recording.sink import RouteSink
from gatescope.routing.errors import RouterOutputError
from tests.hooks.conformance import differences_of_all
from tests.hooks.formulas import expected
from tests.hooks.test_conformance import found
from tests.hooks.zoo import specimen

FAMILIES = ("mixtral", "deepseek_v3", "switch_transformers", "gemma4")


class Faulty(Watch):
    """A sink that keeps something else than what it was given."""

    def __init__(self, spoil):
        super().__init__()
        self.spoil, self.before = spoil, None

    def layer(self, layer, routes):
        super().layer(layer, self.spoil(routes, self.before))
        self.before = routes


def shifted(routes, before):
    return routes if before is None else before


def one_id_wrong(routes, _before):
    ids_nk = routes.ids_nk.clone()
    unused = next(e for e in range(routes.logits_ne.shape[1]) if e not in ids_nk[3].tolist())
    ids_nk[3, 0] = unused
    return routes._replace(ids_nk=ids_nk)


def weights_off(routes, _before):
    return routes._replace(weights_nk=routes.weights_nk * 1.02)


def one_weight_off(routes, _before):
    weights_nk = routes.weights_nk.clone()
    weights_nk[5, 0] *= 1.02
    return routes._replace(weights_nk=weights_nk)


def rows_dropped(routes, _before):
    return routes._replace(**{name: getattr(routes, name)[:-2] for name in ("logits_ne", "ids_nk", "weights_nk")})


def rows_doubled(routes, _before):
    return routes._replace(
        **{name: getattr(routes, name).repeat(2, 1) for name in ("logits_ne", "ids_nk", "weights_nk")}
    )


def gate_for_logits(routes, _before):
    return routes._replace(logits_ne=routes.logits_ne.softmax(-1))


FAULTS = [shifted, one_id_wrong, weights_off, one_weight_off, rows_dropped, rows_doubled, gate_for_logits]


def wrong(name, spoil):
    """What the comparison says of a pass that was read through a fault."""
    thing = specimen(name)
    routers, watch = read_routers(thing.model, thing.inputs), Faulty(spoil)
    with routers.recorder.recording(watch):
        forward(thing.model, thing.inputs)
    routers.close()
    records = [found(watch.seen[site.layer]) for site in routers.sites]
    return differences_of_all(expected(name, thing.model, thing.inputs), records)


@pytest.mark.parametrize("name", FAMILIES)
def test_without_a_fault_there_is_nothing_to_say(name):
    assert wrong(name, lambda routes, _before: routes) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_planted_fault_is_noticed(name, fault):
    assert wrong(name, fault) != []


@pytest.mark.parametrize("name", ["deepseek_v3", "switch_transformers", "deepseek_v4", "kolibri1", "ernie4_5_moe"])
def test_ids_taken_from_the_scores_are_noticed_where_more_than_scores_decides(name):
    def recomputed(routes, _before):
        return routes._replace(ids_nk=routes.logits_ne.topk(routes.ids_nk.shape[1]).indices)

    assert wrong(name, recomputed) != []


def test_a_scale_after_the_experts_that_is_left_out_is_noticed():
    def before_scaling(routes, _before):
        return routes._replace(weights_nk=routes.weights_nk / 2.5)

    assert any("times the expected" in sentence for sentence in wrong("beam", before_scaling))


def test_calls_that_are_counted_twice_are_an_error(make_tiny):
    model = make_tiny("mixtral")
    routers = read_routers(model)
    experts = routers.sites[0].experts
    ours = experts._forward_pre_hooks[next(reversed(experts._forward_pre_hooks))]
    experts.register_forward_pre_hook(ours, with_kwargs=True)
    with (
        pytest.raises(RouterOutputError, match=r"layers.0.mlp.experts ran, but its router .* had not answered"),
        routers.recorder.recording(RouteSink(routers.learnt)),
    ):
        forward(model, routers.inputs)


def test_a_hook_of_others_that_changes_the_routes_is_recorded_as_it_ends(make_tiny):
    model = make_tiny("mixtral")
    routers, watch = read_routers(model), Watch()
    routers.sites[1].experts.register_forward_pre_hook(lambda _module, args: (args[0], args[1] * 0 + 3, args[2]))
    with routers.recorder.recording(watch):
        forward(model, routers.inputs)
    assert (watch.seen[1].ids_nk == 3).all() and not (watch.seen[0].ids_nk == 3).all()


def test_a_hook_left_behind_is_noticed(make_tiny):
    model = make_tiny("mixtral")
    before = hooks_on(model)
    routers = read_routers(model)
    assert hooks_on(model) - before == {"gate", "experts"}
    routers.close()
    assert hooks_on(model) == before == set()
    Recorder(routers.sites[:1])
    assert hooks_on(model) == {"gate", "experts"}


def hooks_on(model):
    """Names of the modules with hooks of any kind."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {path.rpartition(".")[2] for path, module in model.named_modules() if any(getattr(module, k) for k in kinds)}
