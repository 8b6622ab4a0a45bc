"""A loop that was killed goes on where it was, with the numbers of one that was not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from runtime import checkpoint


class Killed(Exception):
    """In place of SIGKILL: nothing is tidied up."""


def trained(steps: int, kill_at: int | None = None, optimizer_kind: str = "sgd") -> tuple[Tensor, list[int], list[Tensor]]:
    """Weights, the steps that were made, and a list that grows in the loop."""
    draws = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    if optimizer_kind == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    else:
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.05)
    losses: list[Tensor] = []
    made = []
    for step in checkpoint.loop("net", steps, net=net, optimizer=optimizer, draws=draws, losses=losses):
        if step == kill_at:
            raise Killed
        made.append(step)
        loss = net(torch.randn(8, 3, generator=draws)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.cat([tensor.flatten().float() for tensor in net.state_dict().values()]), made, losses


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_killed_loop_goes_on_with_the_same_numbers(tmp_path: Path, optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    whole, _, losses = trained(20, optimizer_kind=optimizer)
    with pytest.raises(Killed), checkpoint.kept_in(tmp_path):
        trained(20, kill_at=13, optimizer_kind=optimizer)
    with checkpoint.kept_in(tmp_path):
        again, made, found = trained(20, optimizer_kind=optimizer)
    assert made == list(range(13, 20))
    assert torch.equal(again, whole)
    assert torch.equal(torch.stack(found), torch.stack(losses))
    assert list(tmp_path.iterdir()) == []


def test_a_loop_that_ended_is_not_run_again_when_its_task_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)

    def killed_after() -> None:
        trained(5)
        raise Killed

    with pytest.raises(Killed), checkpoint.kept_in(tmp_path):
        killed_after()
    with checkpoint.kept_in(tmp_path):
        weights, made, _ = trained(5)
    assert made == []
    assert torch.equal(weights, trained(5)[0])


def test_short_loops_and_loops_outside_a_task_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trained(3)
    with pytest.raises(Killed), checkpoint.kept_in(tmp_path):
        trained(3, kill_at=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "empty", "one bit", "other source"])
def test_a_checkpoint_that_cannot_be_trusted_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    with pytest.raises(Killed), checkpoint.kept_in(tmp_path):
        trained(9, kill_at=5)
    (path,) = tmp_path.iterdir()
    if damage == "other source":
        monkeypatch.setattr(checkpoint.machine, "source_digest", lambda: "another")
    elif damage == "one bit":
        content = path.read_bytes()
        path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    else:
        path.write_bytes(path.read_bytes()[:100] if damage == "truncated" else b"")
    with checkpoint.kept_in(tmp_path):
        weights, made, _ = trained(9)
    assert made == list(range(9))
    assert torch.equal(weights, trained(9)[0])
