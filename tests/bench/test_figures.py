"""The arithmetic of the tables, on figures that one can check by hand."""

from bench.figures import Figure, Table, Verdict, aligned, median, p95, shown, timed


def test_the_median_of_an_even_number_of_samples_is_between_the_two_in_the_middle():
    assert median([4, 1, 3, 2]) == 2.5


def test_the_95th_percentile_is_a_sample_that_19_of_20_do_not_exceed():
    assert p95(range(1, 21)) == 19
    assert p95([7]) == 7


def test_times_are_shown_in_milliseconds_beside_their_ratio_to_each_floor():
    figure = timed("job", [0.010, 0.030, 0.020], {"bare": [0.005], "ssh": [0.040]})
    assert (figure.value, figure.p95, figure.samples) == (20, 30, 3)
    assert figure.ratios == {"bare": 4, "ssh": 0.5}


def test_a_table_says_which_targets_are_missed():
    figures = (timed("floor", [0.001]), timed("ours", [0.003], {"floor": [0.001]}), Figure("rate", 12345, "/s"))
    verdicts = (Verdict("at most 2 times", "3.00 times", met=False), Verdict("at most 4 times", "3.00 times", met=True))
    lines = shown(Table("t", "A table", figures, verdicts)).splitlines()
    assert lines[0] == "A table"
    assert "÷ floor" in lines[2]
    assert any(line.startswith("  ours") and "3.00 ms" in line and line.rstrip().endswith("3.00") for line in lines)
    assert any("12,345 /s" in line for line in lines)
    assert "  MISSED  at most 2 times: 3.00 times" in lines
    assert "  met     at most 4 times: 3.00 times" in lines


def test_columns_stand_below_each_other():
    first, second = aligned([["a", "1.0 ms", "note"], ["longer", "100 ms", ""]])
    assert first.index("1.0 ms") + len("1.0 ms") == second.index("100 ms") + len("100 ms")
