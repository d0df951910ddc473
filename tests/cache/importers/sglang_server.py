"""A small server that runs requests as SGLang does and keeps what its recorder keeps; every route is known."""

from dataclasses import dataclass, field

import numpy as np
import torch

LAYERS, EXPERTS, K = 5, 8, 3
DENSE = (0, 2)


def route(token, position, layer):
    """What the model of these tests does with a token: three experts side by side, or none in a dense layer."""
    first = (7 * token + 3 * position + layer) % EXPERTS
    return [(first + slot) % EXPERTS for slot in range(K)] if layer not in DENSE else []


def physical(map_lp, layer, expert, turn):
    """One of the places where an expert is kept."""
    places = np.flatnonzero(map_lp[layer] == expert)
    return int(places[turn % len(places)])


def identity(redundant=0):
    """Experts in their places, the first ones once more behind."""
    return np.tile(np.arange(EXPERTS + redundant) % EXPERTS, (LAYERS, 1))


def shuffled(seed=0, redundant=4):
    """Another placement in each layer, some experts at two places."""
    generator = np.random.default_rng(seed)
    extra = [generator.permutation(EXPERTS)[:redundant] for _ in range(LAYERS)]
    return np.array([generator.permutation([*range(EXPERTS), *more]) for more in extra])


def one_pass(number, segments, mode, map_lp, rank=0):
    """A pass as the recorder keeps it. A segment is a list of (token, position)."""
    flat = [cell for segment in segments for cell in segment]
    ids = np.full((LAYERS, len(flat), 8), -1, np.int32)
    for at, (token, position) in enumerate(flat):
        for layer in range(LAYERS):
            for slot, expert in enumerate(route(token, position, layer)):
                ids[layer, at, slot] = physical(map_lp, layer, expert, token + at)
    return {
        "forward_pass_id": number,
        "rank": rank,
        "gatherer_key": "primary",
        "input_ids": [token for token, _ in flat],
        "positions": [position for _, position in flat],
        "extend_seq_lens": None if mode == 2 else [len(segment) for segment in segments],
        "forward_mode": mode,
        "topk_ids_of_layer": torch.from_numpy(ids),
        "misc_objects": [],
        "global_physical_count": torch.zeros(LAYERS, map_lp.shape[1], dtype=torch.int32),
    }


def dump(path, passes, map_lp=None):
    """A dump of mode per_token."""
    map_lp = identity() if map_lp is None else map_lp
    torch.save({"records": passes, "last_physical_to_logical_map": torch.from_numpy(map_lp)}, path)
    return path


@dataclass
class Request:
    """A text on the server: its tokens, of which the first few are the prompt."""

    tokens: list[int]
    prompt: int
    cached: int = 0
    done: int = field(default=0)


@dataclass
class Server:
    """Runs requests as SGLang does: prompts first, cut to a budget; then one token of each, in a stable order."""

    budget: int
    mixed: bool
    passes: list = field(default_factory=list)
    running: list = field(default_factory=list)
    cut: Request | None = None

    def prefill(self, waiting):
        """As many prompts as fit; the last one may be cut."""
        room, batch, segments = self.budget, [], []
        for request in ([self.cut] if self.cut else []) + waiting:
            if room <= 0:
                break
            start = max(request.done, request.cached)
            stop = min(request.prompt, start + room)
            segments.append([(request.tokens[at], at) for at in range(start, stop)])
            request.done, room = stop, room - (stop - start)
            batch.append(request)
        decoding = list(self.running) if self.mixed else []
        segments += [self.next_of(request) for request in decoding]
        self.passes.append((segments, 3 if decoding else 1))
        self.cut = next((request for request in batch if request.done < request.prompt), None)
        prefilled = [each for each in batch if each is not self.cut]
        order = prefilled + self.running if self.mixed else self.running + prefilled
        self.running = [each for each in order if each.done < len(each.tokens)]
        return [request for request in waiting if request not in batch]

    @staticmethod
    def next_of(request):
        request.done += 1
        return [(request.tokens[request.done - 1], request.done - 1)]

    def step(self):
        """One token of every running request."""
        self.passes.append(([self.next_of(request) for request in self.running], 2))
        self.running = [each for each in self.running if each.done < len(each.tokens)]

    def run(self, requests, chance):
        """All requests to their ends, arriving by chance. The passes as (segments, mode)."""
        coming, waiting = list(requests), []
        while coming or waiting or self.cut or self.running:
            while coming and (chance.random() < 0.5 or not (waiting or self.cut or self.running)):
                waiting.append(coming.pop(0))
            if waiting or self.cut:
                waiting = self.prefill(waiting)
            if self.running and not self.cut:
                self.step()
        return self.passes


def requests_of(chance, count, *, cached=False):
    """Texts of their own tokens: no two share one, so that a token tells its text."""
    made = []
    for number in range(count):
        length = chance.randint(2, 14)
        prompt = chance.randint(1, length)
        made.append(Request([1000 * number + at for at in range(length)], prompt))
        if cached:
            made[-1].cached = chance.randint(0, prompt - 1)
    return made
