"""xas.table: a DataFrame whose important columns come first, and are what is printed."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from xas_live.callbacks.publishers.result_table import table
from xas_live.callbacks.publishers.results import Result, with_averages
from xas_live.prediction import Classes, Degree, Outcome, Prediction, Size, Value, Verdict
from xas_live.spectrum import Provenance

SIZED = Outcome({"CN1": Value(9.04, 0.3, 8.5, 9.6), "R1": Value(2.74, 0.01, 2.72, 2.76, unit="Å")},
                size=Size(1.8, 1.5, 2.1, "1.8 nm"))  # fmt: skip


def prediction(scan="1", sweep=0, averaged=1, sample="", **of):
    where = Provenance(scan=scan, run_uid=scan, sweep=sweep, averaged=averaged, metadata={"sample": sample})
    of = {"outcome": SIZED, "verdict": Verdict(Degree.TRUSTED)} | of
    return Prediction("pt-l3", "", "Pt", "L3", where, **of)


def test_what_matters_comes_first_and_sizes_are_numbers():
    rows = table([Result(prediction(sample="Pt/C"), 0.1)])
    assert list(rows)[:10] == [
        "scan", "sample", "sweep", "averaged", "CN1", "CN1_lower", "CN1_upper", "diameter", "size", "verdict",
    ]  # fmt: skip
    assert {"R1", "R1_lower", "diameter_upper", "flags", "refused", "lag", "model"} <= set(rows)
    bulk = replace(SIZED, size=Size(None, None, None, "bulk-like"))
    rows = table([Result(prediction()), Result(prediction(outcome=bulk))])
    assert rows["diameter"].iloc[0] == 1.8
    assert math.isnan(rows["diameter"].iloc[1])
    assert rows["size"].tolist() == ["1.8 nm", "bulk-like"]


def test_it_prints_in_80_columns_and_names_the_rest():
    long = prediction("a_file_with_quite_a_long_name_0001.xdi", sample="Pt 20 wt% on carbon, reduced twice")
    refused = prediction("12", outcome=Outcome(), refused="no edge")
    text = repr(table([Result(long), Result(refused)]))
    assert max(map(len, text.splitlines())) <= 80
    head, first, second, *rest = text.splitlines()
    assert head.split() == ["scan", "sample", "CN1", "size", "verdict"]
    assert "9.04 ±0.56  1.8 nm  trusted" in first
    assert second.endswith("not usable")
    assert "R1" in " ".join(rest)
    assert "2 rows" in rest[0]


def test_what_is_taken_from_it_is_a_plain_table():
    rows = table([Result(prediction()), Result(prediction("2"))])
    assert type(rows[["scan", "R1"]]) is pd.DataFrame
    assert "R1" in repr(rows[["scan", "R1"]]).splitlines()[0]
    assert rows[rows["scan"] == "2"]["CN1"].tolist() == [9.04]


def test_an_average_stands_after_its_sweeps_and_says_so():
    sweeps = [Result(prediction(scan, k)) for scan in ("1", "2") for k in range(2)]
    rows = table(with_averages(sweeps, [prediction("1", 1, 2), prediction("gone", 1, 2)]))
    assert rows["scan"].tolist() == ["1", "1", "1", "2", "2"]
    assert rows["averaged"].tolist() == [1, 1, 2, 1, 1]
    assert "1, mean of 2" in repr(rows)


@pytest.mark.parametrize("results", [[], [Result(prediction(outcome=Outcome(), refused="no edge"))]])
def test_it_prints_with_nothing_in_it(results):
    assert repr(table(results)).startswith("scan")
    assert "<table>" in table(results)._repr_html_()


def test_classes_and_markup_are_shown_as_they_are():
    site = Outcome(classes={"site": Classes({"T4": 0.9, "O6": 0.1}, ("T4",))})
    rows = table([Result(prediction("<1>", outcome=site))])
    assert "T4 0.90" in repr(rows)
    assert "&lt;1&gt;" in rows._repr_html_()
