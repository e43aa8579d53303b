"""Seeds on accelerators, which have random states of their own."""

from __future__ import annotations

import pytest
import torch

from emosteer.models import seeded_sampling
from emosteer.models.seeded_sampling import drawing

REAL = torch.Generator


class Accelerator:
    """A device module of torch: its random state is a number, which drawing changes."""

    def __init__(self, takes_device: bool) -> None:
        self.state, self._takes_device = torch.tensor([77]), takes_device

    def get_rng_state(self, *device):
        assert bool(device) == self._takes_device
        return self.state.clone()

    def set_rng_state(self, state, *device):
        assert bool(device) == self._takes_device
        self.state = state.clone()

    def draw(self) -> int:
        self.state = self.state * 31 % 1009
        return int(self.state)


class Generator:
    def __init__(self, device) -> None:
        self._device = torch.device(device)

    def manual_seed(self, seed):
        self._seed = seed
        return self

    def get_state(self):
        if self._device.type == "cpu":
            return REAL("cpu").manual_seed(self._seed).get_state()
        return torch.tensor([self._seed])


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps"])
def test_a_seed_draws_from_the_devices_random_state_and_puts_the_global_one_back(kind, monkeypatch):
    device, module = torch.device(kind), Accelerator(takes_device=kind != "mps")
    monkeypatch.setattr(torch, "get_device_module", lambda asked: {device: module}[asked])
    monkeypatch.setattr(torch, "Generator", Generator)
    monkeypatch.setattr(seeded_sampling, "input_device", lambda _model: device)
    ids, scores = torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 4)

    def three(seed):
        drawn = []
        with drawing(seed, None, {}) as options:
            (before,), (after,) = options["logits_processor"], options["stopping_criteria"]
            for _ in range(3):
                before(ids, scores)
                drawn.append(module.draw())
                after(ids, scores)
                assert int(module.state) == 77
        assert int(module.state) == 77
        return drawn

    assert three(5) == three(5) != three(6)
    assert len(set(three(5))) == 3
