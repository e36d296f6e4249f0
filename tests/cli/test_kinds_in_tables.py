"""The printed table of predictions, for models of every kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.models.kinds import CLASSES, classifier_bundle, curve_bundle, mixed_bundle, sweeps
from xas_live import Analyzer
from xas_live.cli import app, output
from xas_live.prediction import Chemistry, Classes, Degree, Outcome, Prediction, Size, Value, Verdict
from xas_live.spectrum import Provenance


def printed(monkeypatch: pytest.MonkeyPatch, predictions: Sequence[Prediction], width: int = 132) -> str:
    console = Console(width=width, record=True, quiet=False)
    monkeypatch.setattr(output, "out", console)
    output.print_predictions(predictions)
    return console.export_text()


def test_classes_have_a_column_with_their_set():
    assert output.with_set(Classes({"T4": 0.93, "O6": 0.07}, ("T4",))) == "T4 0.93"
    assert output.with_set(Classes({"T4": 0.63, "O6": 0.37}, ("T4", "O6"))) == "T4 0.63 or O6"
    five = Classes(dict.fromkeys("abcde", 0.2), tuple("abcde"))
    assert output.with_set(five) == "a 0.20 or b, c, 2 more"
    assert output.with_set(Classes({"T4": 0.51, "O6": 0.49}, ())) == "T4 0.51 (none fits)"


def test_a_classifier_has_neither_numbers_nor_sizes(monkeypatch):
    predictions = Analyzer(classifier_bundle(), device="cpu").analyze(sweeps(2, refused=(0,)))
    text = printed(monkeypatch, predictions)
    header = next(line for line in text.splitlines() if "verdict" in line).split()
    assert header == ["scan", "environment", "verdict"]
    assert output.with_set(predictions[1].classes["environment"]) in text
    assert text.count("not judged") == 1
    assert text.count("not usable") == 1
    assert "trusted" not in text


def test_curves_are_left_to_other_places(monkeypatch):
    predictions = Analyzer(curve_bundle(), device="cpu").analyze(sweeps(2))
    text = printed(monkeypatch, predictions)
    assert next(line for line in text.splitlines() if "verdict" in line).split() == ["scan", "verdict"]
    assert text.count("g is a curve: see the figure, JSON or the archive") == 1


def test_all_kinds_stand_side_by_side(monkeypatch):
    text = printed(monkeypatch, Analyzer(mixed_bundle(), device="cpu").analyze(sweeps(1)))
    header = next(line for line in text.splitlines() if "verdict" in line).split()
    assert header == ["scan", "oxidation_state", "bond", "environment", "verdict"]


def test_models_of_other_kinds_have_tables_of_their_own(monkeypatch):
    spectra = sweeps(2, refused=(1,))
    bundles = (classifier_bundle(), mixed_bundle())
    text = printed(monkeypatch, [p for b in bundles for p in Analyzer(b, device="cpu").analyze(spectra)])
    assert text.count("verdict") == 2


SIZED = Outcome({"CN1": Value(9.0, 0.3, 8.5, 9.5)}, size=Size(1.8, 1.5, 2.1, "1.8 nm"))


def judged(degree: Degree | None, *reasons: str, scan: str = "", **of: Any) -> Prediction:
    """A prediction with this verdict, and with this outcome."""
    verdict = Verdict(degree, reasons, of.pop("widening", 1.0))
    where = Provenance(scan=scan)
    return Prediction("m", "", provenance=where, outcome=replace(SIZED, **of), verdict=verdict)


def test_sizes_and_verdicts_stay_where_a_model_gives_them(monkeypatch):
    caution = judged(Degree.CAUTION, "a glitch", widening=1.4)
    text = printed(monkeypatch, [judged(Degree.TRUSTED), caution])
    assert next(line for line in text.splitlines() if "verdict" in line).split() == [
        "scan", "CN1", "size", "verdict",
    ]  # fmt: skip
    assert "caution : a glitch; interval 1.4 times wider" in text
    assert text.count("trusted") == 1
    assert text.count("1.8 nm") == 2


def test_the_leading_result_fits_in_80_columns_and_the_others_are_named(monkeypatch):
    many = {f"CN{k}": Value(9.0, 0.3, 8.5, 9.5) for k in range(1, 7)}
    long = judged(Degree.TRUSTED, scan="a_file_with_quite_a_long_name_0001.xdi", values=many)
    where = replace(long.provenance, metadata={"sample_name": "Pt 20 wt% on carbon"})
    text = printed(monkeypatch, [replace(long, provenance=where)], width=80)
    header = next(line for line in text.splitlines() if "verdict" in line).split()
    assert header[:3] == ["scan", "sample", "CN1"]
    assert header[-2:] == ["size", "verdict"]
    assert "CN6: in a wider window, and with --json" in text
    assert "9.00 ±0.50" in text
    assert "CN6" in printed(monkeypatch, [long], width=200).splitlines()[2]


def test_scans_of_one_reason_share_a_line(monkeypatch):
    salt = "looks like a salt or complex"
    text = printed(
        monkeypatch,
        [
            *(judged(Degree.NOT_USABLE, salt, scan=str(k)) for k in range(10)),
            judged(Degree.CAUTION, "a glitch", scan="10"),
            Prediction("m", "", provenance=Provenance(scan="11"), refused="no edge"),
        ],
    )
    rows = [line for line in text.splitlines() if ": " in line]
    assert rows == [
        f"  not usable 0; 1; 2; 3; 4; 5; 6; 7 and 2 more: {salt}",
        "  caution 10: a glitch",
        "  refused 11: no edge",
    ]
    assert text.count("not usable") == 12


def test_what_is_no_metal_is_shown_where_there_is_some(monkeypatch):
    pure, mixed = Value(0.04, 0.02, 0.0, 0.08), Value(0.30, 0.05, 0.22, 0.38)
    clean = judged(Degree.TRUSTED, scan="1", chemistry=Chemistry(pure))
    text = printed(monkeypatch, [clean])
    assert "non_metal" not in text
    oxide = judged(Degree.CAUTION, "a glitch", scan="2", chemistry=Chemistry(mixed, looks="looks oxidised"))
    text = printed(monkeypatch, [clean, oxide])
    header = next(line for line in text.splitlines() if "verdict" in line).split()
    assert header == ["scan", "CN1", "non_metal", "size", "verdict"]
    assert text.count("0.300 ±0.080") == 1
    assert "0.04" not in text
    assert "caution 2: a glitch; looks oxidised" in text


def test_verdicts_have_words_and_colours():
    coloured = [output.verdict(judged(degree)) for degree in (*Degree, None)]
    assert coloured == ["[green]trusted[/]", "[yellow]caution[/]", "[red]not usable[/]", "not judged"]


def test_models_are_listed_with_all_that_they_give(monkeypatch):
    bundles = {b.name: b for b in (classifier_bundle(), curve_bundle(), mixed_bundle())}
    monkeypatch.setattr("xas_live.models.available_models", lambda: list(bundles))
    monkeypatch.setattr("xas_live.models.load_model", bundles.__getitem__)
    found = json.loads(CliRunner().invoke(app, ["models", "list", "--json"]).output)
    given = {row["name"]: {o["name"]: o for o in row["outputs"]} for row in found}
    of_classes = {"name": "environment", "kind": "classes", "classes": list(CLASSES)}
    assert given[classifier_bundle().name] == {"environment": of_classes}
    of_curve = {"name": "g", "kind": "curve", "x_name": "r", "x_unit": "Å"}
    assert given[curve_bundle().name] == {"g": of_curve}
    assert [row["targets"] for row in found] == [[], [], ["oxidation_state", "bond"]]
    mixed = next(o for o in given[mixed_bundle().name].values() if o["kind"] == "scalars")
    assert mixed["targets"] == ["oxidation_state", "bond"]
    text = " ".join(CliRunner().invoke(app, ["models", "list"]).output.split())
    assert "g(r)" in text
    assert "environment" in text
    shown = CliRunner().invoke(app, ["models", "show", classifier_bundle().name]).output
    predicts = next(line for line in shown.splitlines() if "predicts" in line)
    assert f"environment ({', '.join(CLASSES)})" in predicts
