"""How much memory films may take, and what is expected of augments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cxrkit.engine import batches
from cxrkit.errors import ContractError
from cxrkit.interfaces import Augment, Batch


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert batches._left_of_container(tmp_path) is None, "no container"
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("300\n")
    assert batches._left_of_container(tmp_path) is None, "no limit"
    (tmp_path / "memory.max").write_text("1000\n")
    assert batches._left_of_container(tmp_path) == 700
    monkeypatch.setattr(batches, "_left_of_container", lambda: 700.0)
    assert batches.fits(349, torch.device("cpu"))
    assert not batches.fits(350, torch.device("cpu"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda batch: (batch.images, batch.targets), "expected a cxrkit.Batch, got a tuple"),
        (lambda batch: batch.with_(targets=batch.targets[:, :1]), r"expected targets of shape \(2, 3, 4, 4\)"),
        (lambda batch: batch.with_(images=batch.images[:1]), r"expected images of shape \(2, 1, 4, 4\)"),
        (lambda batch: batch.with_(known=batch.known[:1]), r"expected known of shape \(2, 3\)"),
        (lambda batch: Batch(batch.images, batch.targets), "its batches no longer say which masks are known"),
    ],
    ids=["tuple", "channels", "films", "rows", "forgets"],
)
def test_an_augment_that_breaks_its_contract_is_named(change: Callable[[Batch], Batch], message: str) -> None:
    class Careless(Augment):
        def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
            return change(batch)

    known = torch.ones(2, 3, dtype=torch.bool)
    batch = Batch(torch.zeros(2, 1, 4, 4), torch.zeros(2, 3, 4, 4), known=known)
    with pytest.raises(ContractError, match=f"Careless: {message}"):
        batches.augment_batch([Careless()], batch, torch.Generator())
