"""The network."""

import torch
from torch import nn

from digits.data import CLASSES


class DigitNet(nn.Module):
    """Two convolutions and two linear layers: images (N, 1, 8, 8) to logits (N, 10)."""

    def __init__(self) -> None:
        """Create the layers, with torch's own initialization."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(64 * 4 * 4, 128),
            nn.ReLU(),
            nn.Linear(128, CLASSES),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return one logit for each class."""
        return self.layers(images)
