"""Command line: `python -m digits [options]`."""

import argparse
import os
import signal
import sys
from pathlib import Path


def default_results() -> Path:
    """Return ./results, or results below HOME if the first is not writable."""
    here = Path("results")
    return here if os.access(here if here.exists() else ".", os.W_OK) else Path.home() / here


def positive(text: str) -> int:
    """Return a number from the command line. Raises ValueError, which argparse reports, below 1."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def natural(text: str) -> int:
    """Return a number from the command line. Raises ValueError, which argparse reports, below 0."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    train = argparse.ArgumentParser(
        prog="digits", description="Train on handwritten digits, or go on from the last checkpoint."
    )
    train.add_argument("--results", type=Path, default=default_results(), help="folder to write to")
    train.add_argument("--epochs", type=positive, default=30, help="passes over the training data")
    train.add_argument("--batch-size", type=positive, default=64, help="images in one step")
    train.add_argument("--workers", type=natural, default=0, help="processes that load batches")
    train.add_argument("--seed", type=int, default=0, help="of the split and of the training")
    train.add_argument("--fresh", action="store_true", help="ignore a checkpoint that is there")
    return train


def main(arguments: list[str] | None = None) -> int:
    """Train, and return the exit code."""
    options = vars(parser().parse_args(arguments))
    # Process 1 of a container has no default handler for signals. Without this one, `docker stop`
    # would wait ten seconds while torch is imported, and then kill the process.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    from digits import train  # here, so that --help does not wait for torch

    return train.main(train.Settings(**options))


if __name__ == "__main__":
    sys.exit(main())
