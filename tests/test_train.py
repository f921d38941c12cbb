"""Training reaches its accuracy, resumes exactly, and refuses a checkpoint of another training."""

import re

import pytest
import torch

from digits import train
from digits.__main__ import main


def settings(folder, **more):
    return train.Settings(folder, **{"epochs": 2, **more})


def weights(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)["network"]


def test_accuracy(tmp_path, capsys):
    assert train.main(train.Settings(tmp_path)) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert float(re.search(r"([\d.]+)% of 359 held-out digits right, [\d.]+ s", last)[1]) >= 96


def test_loss_curve(tmp_path):
    train.main(settings(tmp_path))
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_resume(tmp_path):
    train.main(settings(tmp_path / "once", epochs=4))
    train.main(settings(tmp_path / "twice", epochs=2))
    train.main(settings(tmp_path / "twice", epochs=4))
    once, twice = weights(tmp_path / "once"), weights(tmp_path / "twice")
    for name in once:
        torch.testing.assert_close(once[name], twice[name])


def cut_short(file):
    file.write_bytes(file.read_bytes()[:-1000])


def of_another_model(file):
    saved = torch.load(file, weights_only=True)
    saved["network"] = {"weight": torch.zeros(3)}
    torch.save(saved, file)


def of_another_seed(file):
    saved = torch.load(file, weights_only=True)
    saved["seed"] = 7
    torch.save(saved, file)


def without_its_optimizer(file):
    saved = torch.load(file, weights_only=True)
    del saved["optimizer"]
    torch.save(saved, file)


def not_a_checkpoint(file):
    file.write_text("loss,accuracy\n")


def something_else(file):
    torch.save([1, 2, 3], file)


def with_code_in_it(file):
    torch.save(train.Settings(file.parent), file)


@pytest.mark.parametrize(
    "spoil, why",
    [
        (cut_short, "is cut short or not a checkpoint"),
        (not_a_checkpoint, "is cut short or not a checkpoint"),
        (of_another_model, "is from another model"),
        (something_else, "is from another model"),
        (without_its_optimizer, "is from another model"),
        (of_another_seed, "was trained with --seed 7"),
        (with_code_in_it, "cannot be read"),
    ],
)
def test_bad_checkpoint(tmp_path, capsys, spoil, why):
    train.main(settings(tmp_path))
    file = tmp_path / "checkpoint.pt"
    spoil(file)
    spoilt = file.read_bytes()
    capsys.readouterr()
    assert train.main(settings(tmp_path, epochs=3)) == 1
    message = capsys.readouterr().err.strip()
    assert message.startswith(f"ERROR: {file} {why}")
    assert "--fresh" in message
    assert file.read_bytes() == spoilt
    assert train.main(settings(tmp_path, fresh=True)) == 0


@pytest.mark.parametrize("option", ["--epochs", "--batch-size"])
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_bad_number(capsys, option, value):
    with pytest.raises(SystemExit, match="2"):
        main([option, value])
    assert f"argument {option}: invalid positive value: '{value}'" in capsys.readouterr().err


def test_unwritable_folder(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert train.main(settings(tmp_path / "file" / "results")) == 1
    assert "name another folder with --results" in capsys.readouterr().err
