"""Seeded random draws, all on the device of the training."""

import torch
from torch import Tensor


class Draw:
    """A stream of random tensors; the same seed gives the same stream on the same device."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self._generator = torch.Generator(device).manual_seed(seed)
        self._host = torch.Generator().manual_seed(seed)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform values in [low, high), float32, `shape`."""
        values = torch.rand(shape, generator=self._generator, device=self.device)
        return values * (high - low) + low

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        """Values whose logarithm is uniform between those of `low` and `high`."""
        bounds = torch.tensor([low, high]).log().tolist()
        return self.uniform(*shape, low=bounds[0], high=bounds[1]).exp()

    def normal(self, *shape: int) -> Tensor:
        """Standard normal values, float32, `shape`."""
        return torch.randn(shape, generator=self._generator, device=self.device)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Booleans that are true with `probability`."""
        return self.uniform(*shape) < probability

    def host_choices(self, weights: list[float], count: int) -> list[int]:
        """`count` indices drawn with `weights`: for decisions that steer the program."""
        table = torch.tensor(weights)
        chosen = torch.multinomial(table, count, replacement=True, generator=self._host)
        return [int(index) for index in chosen]
