from __future__ import annotations

import io

import pytest
from rich.console import Console

from cxrkit.report import markdown_table, remarks, rich_table, summarise
from cxrkit.report.summary import spread


def rendered(summary) -> str:
    stream = io.StringIO()
    Console(file=stream, width=200).print(rich_table(summary))
    return stream.getvalue()


def test_means_and_sample_deviations_over_films(evaluation) -> None:
    summary = summarise(evaluation([0.9, 0.8, 0.7]))
    heart = summary.rows[0]
    assert heart.structure == "heart"
    assert heart.overlaps["dice"].mean == pytest.approx(0.8)
    assert heart.overlaps["dice"].std == pytest.approx(0.1)  # of 0.9, 0.8, 0.7 with n - 1
    assert heart.distances["hd95", "mm"].mean == pytest.approx(8.0)
    assert summary.dsc.mean == pytest.approx(0.85)
    assert summary.iou.mean == pytest.approx(0.75)
    assert (summary.films, summary.units) == (3, ("mm",))


def test_a_single_film_has_no_deviation() -> None:
    assert spread([0.5]).text(100) == "50.0"
    assert spread([0.4, 0.6]).text(100) == "50.0 ± 14.1"


def test_the_terminal_shows_percentages_units_and_the_protocol(evaluation) -> None:
    text = rendered(summarise(evaluation([0.9, 0.8, 0.7])))
    assert "3 test films, honest protocol" in text
    assert "HD95 mm" in text
    assert "80.0 ± 10.0" in text


def test_remarks_label_the_papers_protocol_and_what_the_spread_is_over(evaluation) -> None:
    text = "\n".join(remarks(summarise(evaluation())))
    assert "Paper's protocol (soft, all channels): DSC 85.0 ± 10.0 %, IoU 75.0 ± 10.0 %." in text
    assert "over films (not over runs)" in text
    assert "chosen on the validation films" in text
    assert "optimistic" not in text


def test_selection_on_test_films_is_called_optimistic(evaluation) -> None:
    summary = summarise(evaluation(selected_on="test"))
    assert "optimistic" in "\n".join(remarks(summary))
    assert "optimistic" in markdown_table(summary)


def test_last_weights_are_said_to_be_chosen_by_nothing(evaluation) -> None:
    assert "nothing was chosen" in summarise(evaluation(selected_on="nothing")).selection


def test_films_on_which_a_structure_was_missed_are_counted(evaluation) -> None:
    assert "Missed" not in markdown_table(summarise(evaluation([0.9, 0.8, 0.7])))
    missed = summarise(evaluation([0.9, 0.0, 0.0]))
    assert missed.rows[0].missed == 2
    assert "Missed altogether: heart on 2 of the films; they count with a Dice of 0" in markdown_table(missed)
    assert "Missed altogether" in "\n".join(remarks(missed))


def test_films_without_spacing_are_averaged_apart(evaluation) -> None:
    summary = summarise(evaluation([0.9, 0.8, 0.7], units=["mm", "px", "mm"]))
    heart = summary.rows[0].distances
    assert summary.units == ("mm", "px")
    assert heart["hd95", "mm"].mean == pytest.approx(8.0)
    assert heart["hd95", "px"].mean == pytest.approx(8.0)
    assert (heart["hd95", "mm"].films, heart["hd95", "px"].films) == (2, 1)
    assert "2 films in mm and 1 films in px" in "\n".join(remarks(summary))
    assert "HD95 px" in rendered(summary)


def test_pixels_are_explained(evaluation) -> None:
    assert "pixels of the network's input" in markdown_table(summarise(evaluation([0.5], units=["px"])))


@pytest.mark.parametrize(
    ("ctr", "expected"),
    [
        ([(0.50, 0.45), (0.55, 0.60)], "mean absolute error 0.050 ± 0.000 over 2 films."),
        ([(0.50, 0.45), (None, 0.60)], "mean absolute error 0.050 over 1 film; 1 more where heart or lungs"),
        ([(None, 0.45), (None, 0.60)], "no prediction gives one; 2 more"),
    ],
)
def test_the_ratios_error_comes_with_its_counts(evaluation, ctr, expected) -> None:
    assert expected in "\n".join(remarks(summarise(evaluation([0.9, 0.8], ctr=ctr))))


def test_no_true_ratio_no_sentence(evaluation) -> None:
    assert "Cardiothoracic" not in markdown_table(summarise(evaluation()))


def test_markdown_rows_have_as_many_cells_as_the_heading(evaluation) -> None:
    text = markdown_table(summarise(evaluation([0.9, 0.8], units=["mm", "px"])))
    honest = text[: text.index("### Paper's protocol")]
    widths = {line.count("|") for line in honest.splitlines() if line.startswith("|")}
    assert widths == {8}  # structure, Dice, IoU, HD95 and ASSD in two units each
    assert "| lungs | 100.0 ± 0.0 |" in honest
