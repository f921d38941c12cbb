"""Training: on the GPU if there is one, with a checkpoint after every epoch."""

import os
import signal
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn
from torch.utils.data import TensorDataset
from tqdm import tqdm

from digits import data
from digits.model import DigitNet


@dataclass
class Settings:
    """What one training is asked to do."""

    results: Path
    epochs: int = 30
    batch_size: int = 64
    workers: int = 0
    seed: int = 0
    fresh: bool = False


class CheckpointError(Exception):
    """A checkpoint cannot be used. The message says why and what to do."""


@dataclass
class State:
    """What a checkpoint has: all that training needs to resume exactly."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    seed: int
    epoch: int = 0  # finished ones
    losses: list[float] = field(default_factory=list)  # mean cross entropy of each epoch

    def save(self, file: Path) -> None:
        """Write the checkpoint so that a crash leaves a whole one: the old or the new."""
        unfinished = file.with_suffix(".tmp")
        torch.save(self.dump(), unfinished)
        unfinished.replace(file)

    def dump(self) -> dict[str, Any]:
        """Return the content of a checkpoint."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "seed": self.seed,
            "epoch": self.epoch,
            "losses": self.losses,
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all(),
        }

    def load(self, file: Path) -> None:
        """Load a checkpoint. Raises CheckpointError, and changes nothing, if it does not fit.

        A checkpoint is only data for torch.load(weights_only=True): no code in it is run.
        """
        mend = f"Move it away, or start again with --fresh (which replaces {file})."
        if not os.access(file, os.R_OK):
            raise CheckpointError(f"{file} may not be read by uid {os.getuid()}. {mend}")
        if not zipfile.is_zipfile(file):
            raise CheckpointError(f"{file} is cut short or not a checkpoint. {mend}")
        try:
            saved: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load names no error of its own
            raise CheckpointError(f"{file} cannot be read ({error}). {mend}") from error
        there = saved.get("network") if isinstance(saved, dict) else None
        if shapes(there) != shapes(self.network.state_dict()) or saved.keys() != self.dump().keys():
            raise CheckpointError(f"{file} is from another model. {mend}")
        if saved["seed"] != self.seed:
            raise CheckpointError(
                f"{file} was trained with --seed {saved['seed']}, which held other digits out, "
                f"not with --seed {self.seed}. {mend}"
            )
        self.network.load_state_dict(there)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.epoch, self.losses = saved["epoch"], saved["losses"]
        torch.set_rng_state(saved["random"])
        if len(saved["random_cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(saved["random_cuda"])


def shapes(network: dict[str, torch.Tensor] | None) -> dict[str, torch.Size]:
    """Return the shape of each tensor in a network's state, which identifies the model."""
    return {name: tensor.shape for name, tensor in (network or {}).items()}


def draw(losses: list[float], file: Path) -> None:
    """Write the loss curve as a PNG."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(range(1, len(losses) + 1), losses)
    axes.set(xlabel="epoch", ylabel="training loss (cross entropy)")
    axes.grid(visible=True, which="both", alpha=0.3)
    figure.savefig(file, dpi=120)


@torch.no_grad()
def accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of images whose label the network names, from 0 to 1."""
    network.eval()
    return (network(images).argmax(1) == labels).float().mean().item()


def cpu_limit(folder: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many CPUs this container may use, or the machine's number without a limit.

    A limit (`docker run --cpus`, Kubernetes) is one of time, and torch would start a thread for
    each CPU of the machine: https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
    """
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # v2, v1
        try:
            quota, period = " ".join((folder / name).read_text() for name in names).split()
        except OSError:
            continue
        if quota.isdigit():
            return max(1, round(int(quota) / int(period)))
    return os.cpu_count() or 1


def note_signals() -> list[int]:
    """Return a list that stays empty until SIGTERM or Ctrl-C arrives, and then has its number."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGINT, note)
    return received


def main(settings: Settings) -> int:
    """Train and return the exit code: 0 done, 1 bad input, 143 stopped (130 by Ctrl-C)."""
    start, stop = time.perf_counter(), note_signals()
    try:
        settings.results.mkdir(parents=True, exist_ok=True)
        (settings.results / ".writable").touch()
        (settings.results / ".writable").unlink()
    except OSError as error:
        print(
            f"ERROR: cannot write to {settings.results} ({error.strerror}): name another folder "
            "with --results, or mount one that this user may write to.",
            file=sys.stderr,
        )
        return 1

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"torch {torch.__version__} on {where}")

    torch.set_num_threads(min(torch.get_num_threads(), cpu_limit()))
    torch.manual_seed(settings.seed)
    # Use only deterministic cuDNN algorithms, so that a seed gives one result, also after a resume:
    # https://docs.pytorch.org/docs/stable/notes/randomness.html
    torch.backends.cudnn.deterministic = True
    images, labels = data.load()
    training, held_out = data.split(len(images), settings.seed)
    batches = data.loader(
        TensorDataset(images[training], labels[training]), settings.batch_size, settings.workers
    )
    network = DigitNet().to(device)
    state = State(network, torch.optim.AdamW(network.parameters(), lr=2e-3), settings.seed)

    checkpoint = settings.results / "checkpoint.pt"
    if checkpoint.exists() and not settings.fresh:
        try:
            state.load(checkpoint)
        except CheckpointError as error:
            print(f"ERROR: {error}", file=sys.stderr)
            return 1
        print(f"{checkpoint} has {state.epoch} of {settings.epochs} epochs: going on from there")

    every = 0.1 if sys.stderr.isatty() else 5.0  # seconds; a log needs no line for each epoch
    with tqdm(
        total=settings.epochs, initial=state.epoch, unit="epoch", mininterval=every
    ) as progress:
        while state.epoch < settings.epochs:
            network.train()
            total = 0.0
            for inputs, targets in batches:
                if stop:
                    print(f"\nStopped; {checkpoint} has {state.epoch} epochs.", file=sys.stderr)
                    return 128 + stop[0]
                outputs = network(inputs.to(device))
                loss = nn.functional.cross_entropy(outputs, targets.to(device))
                state.optimizer.zero_grad()
                loss.backward()
                state.optimizer.step()
                total += loss.item() * len(inputs)
            state.epoch += 1
            state.losses.append(total / len(training))
            state.save(checkpoint)
            progress.set_postfix(loss=f"{state.losses[-1]:.4f}", refresh=False)
            progress.update()

    draw(state.losses, settings.results / "loss.png")
    right = accuracy(network, images[held_out].to(device), labels[held_out].to(device))
    print(f"Wrote {checkpoint} and {settings.results / 'loss.png'}")
    print(
        f"{where}: {right:.1%} of {len(held_out)} held-out digits right, "
        f"{time.perf_counter() - start:.1f} s"
    )
    return 0
