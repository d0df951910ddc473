"""What one MoE layer did with the tokens of one forward pass: the form in which routing travels inside `hooks`."""

from typing import NamedTuple

from torch import Tensor

NO_EXPERT = -1  # an id that stands in an empty slot: a token dropped, or given fewer experts than k


class Wanted(NamedTuple):
    """What the router itself chose, where an intervention was open: the routes before any change.

    Shapes as in `Routes`; `changed_by` names the interventions, in the order in which they act.
    """

    ids_nk: Tensor
    weights_nk: Tensor
    changed_by: tuple[str, ...]


class Routes(NamedTuple):
    """One layer's routing of N tokens, as executed.

    Shapes
        logits_ne   (N, options)  the router's score of every option: the experts, and, where a family has one, the
                                  option of no expert at all behind them
        ids_nk      (N, k)        int64, NO_EXPERT in an empty slot; slots in the order the model had them
        weights_nk  (N, k)        the factor of each expert's output in the output of the block; 0 in an empty slot
        rows_n      (N,)          which tokens of the pass these were, where the layer saw only some of them
        wanted                    the router's own choice; None where no intervention was open
    """

    logits_ne: Tensor
    ids_nk: Tensor
    weights_nk: Tensor
    rows_n: Tensor | None = None
    wanted: Wanted | None = None
