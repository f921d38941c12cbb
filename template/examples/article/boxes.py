"""Move a box onto another one, by gradient descent on a loss of their overlap."""

import sys

import torch
from torchvision.ops import box_iou, generalized_box_iou_loss


def main() -> int:
    """Print how much the boxes overlap, and return 1 if that is less than 90%."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    there = torch.tensor([[20.0, 30.0, 60.0, 80.0]], device=device)  # left, top, right, bottom
    box = torch.tensor([[0.0, 0.0, 10.0, 10.0]], device=device, requires_grad=True)
    optimizer = torch.optim.Adam([box], lr=0.5)
    for _ in range(500):
        optimizer.zero_grad()
        generalized_box_iou_loss(box, there).sum().backward()
        optimizer.step()
    overlap = float(box_iou(box, there))
    print(f"torch {torch.__version__} on {device}: the boxes overlap by {overlap:.0%}")
    return int(overlap < 0.9)


if __name__ == "__main__":
    sys.exit(main())
