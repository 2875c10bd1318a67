"""Costs as tables: what is shown, and what is left out where it isn't known."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from cxrkit.ablation.bench import Cost, Costs
from cxrkit.ablation.plan import make_plan
from cxrkit.plugins import registry
from cxrkit.report.costs import costs_content, costs_csv, costs_markdown, costs_table, measured

HARDWARE = {"device": "cpu", "name": "a processor", "threads": 2, "torch": "2.9"}


def costs(
    *,
    rounds: int = 6,
    models: Sequence[str] = ("unet", "attn-unet"),
    films: str = "none",
    memory: Sequence[int | None] = (None, None),
) -> Costs:
    """The first arm takes 2 s an update and 10 ms a film, each further one so much more."""
    base = {"data": "phantom", "loss": "dice", "unlabelled": {"films": films}}
    runs = make_plan({"base": base, "factors": {"model": list(models)}}).runs(registry())
    arms = tuple(
        Cost(run, "cpu", "32", 1_234_567, 48_000_000_000, peak, (2.0 * n,) * rounds, (0.01 * n,) * rounds)
        for n, (run, peak) in enumerate(zip(runs, memory, strict=False), start=1)
    )
    return Costs(arms, arms[0], rounds, (HARDWARE,))


def test_the_table_has_times_and_ratios_to_the_reference() -> None:
    table = costs_table(costs())
    assert table.headings == ("arm", "parameters (M)", "multiply-adds (G)", "update (ms)", "×", "film (ms)", "×")
    assert table.rows == (
        ("unet", "1.23", "48.0", "2000", "1", "10.0", "1"),
        ("attn-unet", "1.23", "48.0", "4000", "2.00 (2.00 to 2.00)", "20.0", "2.00 (2.00 to 2.00)"),
    )
    assert "ratios to unet, the median's 95 % confidence interval in brackets" in table.caption
    assert "convolutions and matrix products only" in table.caption
    assert "memory" not in table.caption


def test_memory_has_a_column_where_it_is_known() -> None:
    table = costs_table(costs(memory=(None, 3_210_000_000)))
    assert table.headings[-1] == "peak memory (GB)"
    assert [row[-1] for row in table.rows] == ["–", "3.21"]
    assert "peak memory" in table.caption


def test_an_arm_alone_has_no_ratio_and_few_rounds_have_no_interval() -> None:
    assert "×" not in costs_table(costs(models=["unet"])).headings
    table = costs_table(costs(rounds=5))
    assert table.rows[1][4] == "2.00"
    assert "no interval below 6 rounds" in table.caption


def test_what_was_measured_is_stated_once_if_all_arms_share_it() -> None:
    assert measured(costs()) == (
        "Measured: cpu (a processor), 2 threads, torch 2.9, precision 32, 256 × 256, batches of 5, loss dice, "
        "no augments, 6 rounds of 3 updates and 5 films; random films and masks."
    )
    assert "network unet" in measured(costs(models=["unet"]))
    assert "no augments, self-training left out, 6 rounds" in measured(costs(films="rest"))
    assert measured(costs()) in costs_markdown(costs())


def test_csv_and_json_are_unrounded_and_leave_out_what_is_not_known() -> None:
    _, line = csv.DictReader(io.StringIO(costs_csv(costs())))
    assert line["arm"] == "attn-unet"
    assert (line["parameters"], line["peak_memory_bytes"]) == ("1234567", "")
    assert (line["update_seconds"], line["film_ratio_high"], line["size"]) == ("4.0", "2.0", "256")
    [first, _] = costs_content(costs(rounds=2))
    assert first["update_seconds_by_round"] == [2.0, 2.0]
    assert first["levels"] == {"model": "unet"}
    assert first["peak_memory_bytes"] is None
    assert first["update_ratio_low"] is None
