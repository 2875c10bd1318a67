from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from cxrkit.engine.scores import Evaluation, score_film

CHANNELS = ("left_lung", "right_lung", "heart", "background")


def film(shift: int = 0) -> np.ndarray:
    """Two lungs with a heart between: `(4, 40, 40)`; the heart moved right by `shift`."""
    masks = np.zeros((4, 40, 40), dtype=np.float32)
    masks[0, 5:35, 24:36] = 1
    masks[1, 5:35, 4:16] = 1
    masks[2, 20:30, 16 + shift : 24 + shift] = 1
    masks[3] = 1 - masks[:3].max(axis=0)
    return masks


def test_a_perfect_prediction_has_perfect_scores() -> None:
    scores = score_film("a", CHANNELS, film(), film(), None)
    assert scores.dsc == pytest.approx(1)
    assert scores.iou == pytest.approx(1)
    assert set(scores.structures) == {"left_lung", "right_lung", "heart", "lungs"}
    for structure in scores.structures.values():
        assert (structure.dice, structure.iou, structure.hd95, structure.assd) == (1, 1, 0, 0)
    # The heart's 8 columns of the lungs' 32.
    assert scores.ctr == scores.true_ctr == pytest.approx(8 / 32)
    assert scores.unit == "px"


def test_distances_are_in_millimetres_where_the_spacing_is_known() -> None:
    pixels = score_film("a", CHANNELS, film(shift=4), film(), None)
    millimetres = score_film("a", CHANNELS, film(shift=4), film(), (0.5, 0.5))
    assert millimetres.unit == "mm"
    assert millimetres.structures["heart"].hd95 == pytest.approx(pixels.structures["heart"].hd95 / 2)
    assert pixels.structures["heart"].hd95 == pytest.approx(4)
    assert pixels.structures["heart"].dice == pytest.approx(0.5)


def test_an_empty_prediction_counts_and_gives_no_ratio() -> None:
    nothing = np.zeros_like(film())
    nothing[3] = 1
    scores = score_film("a", CHANNELS, nothing, film(), None)
    assert scores.structures["heart"].dice == 0
    assert np.isfinite(scores.structures["heart"].hd95)
    for measure in ("parts", "holes"):
        assert scores.structures["heart"].measures[measure] is None, "missing it isn't drawing it in fewer pieces"
    both = score_film("a", CHANNELS, nothing, nothing, None)
    assert both.structures["heart"].measures["parts"] == 0
    assert scores.ctr is None
    assert scores.true_ctr is not None
    evaluation = Evaluation(part="test", weights="last", step=1, selected_on="nothing", films=(scores,))
    assert evaluation.by_film("ctr_error") == {"a": None}


def test_without_heart_and_lungs_there_is_no_ratio_and_no_union() -> None:
    scores = score_film("a", ("heart",), film()[2:3], film()[2:3], None)
    assert set(scores.structures) == {"heart"}
    assert scores.ctr is None


def test_what_segments_no_heart_has_missed_no_ratio() -> None:
    """The truth has one, and the lungs of both sides are compared all the same."""
    lungs = film()[:2]
    scores = score_film("a", CHANNELS[:2], lungs, film(), None, true_channels=CHANNELS)
    assert set(scores.structures) == {"left_lung", "right_lung", "lungs"}
    assert (scores.ctr, scores.true_ctr) == (None, None)
    assert scores.dsc == pytest.approx(1), "over the channels that both have"
    evaluation = Evaluation(part="test", weights="last", step=1, selected_on="nothing", films=(scores,))
    assert evaluation.by_film("ctr_error") == {}


def test_the_table_has_a_line_a_film_and_structure() -> None:
    films = tuple(score_film(name, CHANNELS, film(shift=k), film(), None) for k, name in enumerate(["a", "b"]))
    evaluation = Evaluation(part="test", weights="best", step=1, selected_on="validation", films=films)
    rows = list(csv.DictReader(io.StringIO(evaluation.to_csv())))
    assert len(rows) == 2 * (1 + 4)
    hearts = [float(row["dice"]) for row in rows if row["structure"] == "heart"]
    assert hearts == pytest.approx(evaluation.values("heart", "dice").tolist())
    paper = [float(row["dice"]) for row in rows if row["protocol"] == "paper"]
    assert paper == pytest.approx(evaluation.values(None, "dsc").tolist())
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation


def test_files_of_other_versions_are_read() -> None:
    old = {"id": "a", "dsc": 0.9, "iou": 0.8, "unit": "px", "ctr": 0.5, "true_ctr": 0.4}
    old["structures"] = {"heart": {"dice": 0.9, "iou": 0.8, "hd95": 2.0, "assd": 1.0}}
    new = {**old, "id": "b", "structures": {"lungs": {"dice": 0.7, "nsd": 0.5}}}
    about = {"part": "test", "weights": "last", "step": 1, "selected_on": "nothing"}
    evaluation = Evaluation.model_validate(about | {"films": [old, new]})
    assert evaluation.structures == ("heart", "lungs")
    assert evaluation.by_film("ctr_error") == pytest.approx({"a": 0.1, "b": 0.1})
    assert evaluation.by_film("dice", "heart") == {"a": 0.9}
    assert evaluation.by_film("nsd", "lungs") == {"b": 0.5}
    assert evaluation.by_film("nsd", "heart") == {}, "absent, not lost"
