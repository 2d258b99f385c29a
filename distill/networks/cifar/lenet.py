"""LeNet-5 (LeCun et al. 1998) for colour images, with ReLU and maximum pooling."""

from __future__ import annotations

from torch import Tensor, nn

from distill.networks.cifar.parts import initialise


class LeNet5(nn.Module):
    """Three 5x5 convolutions, then the layer of 84 units and the classifier.

    For 28-pixel images (padded to 32, as in the paper) it is LeNet-5. For larger ones the layer of
    84 units is applied at every place of the map, as a 1x1 convolution, and averaged: so it runs at
    any size and has a map that is pooled into the penultimate vector.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 120, 5), nn.ReLU()),
            *(nn.Conv2d(120, 84, 1), nn.ReLU()),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(84, num_classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, K)."""
        logits: Tensor = self.fc(self.pool(self.features(x)).flatten(1))
        return logits


NETWORKS = {"lenet5": LeNet5}
