"""Command line: `python -m torchcrate [train|doctor] [options]`."""

import argparse
import os
import signal
import sys
from pathlib import Path


def default_results() -> Path:
    """Return ./results, or the same below HOME where that may not be written."""
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
    main = argparse.ArgumentParser(prog="torchcrate", description="Train on handwritten digits.")
    commands = main.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train, or go on from the last checkpoint")
    train.add_argument("--results", type=Path, default=default_results(), help="folder to write to")
    train.add_argument("--epochs", type=positive, default=30, help="passes over the training data")
    train.add_argument("--batch-size", type=positive, default=64, help="images in one step")
    train.add_argument("--workers", type=natural, default=0, help="processes that load batches")
    train.add_argument("--seed", type=int, default=0, help="of the split and of the training")
    train.add_argument("--fresh", action="store_true", help="ignore a checkpoint that is there")
    commands.add_parser("doctor", help="what this image can do on this machine")
    return main


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; `train` is the default."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = ["train", *arguments]
    options = vars(parser().parse_args(arguments))
    # The kernel gives process 1 of a container no default handler: without this one `docker stop`
    # would wait ten seconds while torch is being imported, and then kill.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    # Imported late: --help need not wait for torch.
    if options.pop("command") == "doctor":
        from torchcrate import doctor

        return doctor.main()
    from torchcrate import train

    return train.main(train.Settings(**options))


if __name__ == "__main__":
    sys.exit(main())
