"""`xas-live replay` keeps its contract."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import list_scan
from parts import Cable, write
from tiled.queries import Eq
from typer.testing import Result

import xas_live
from xas_live.archive import Archive
from xas_live.cli.storing import quick_close_on_interrupt
from xas_live.energy import xanes_grid
from xas_live.models.registry import SHIPPED_FOLDER
from xas_live.reduction.reducer import Reducer
from xas_live.simulator import SimulatedBeamline, growth
from xas_live.spectrum import Spectrum

Run = Callable[..., Result]

KEYS = {
    *(
        "source",
        "scan",
        "read",
        "element",
        "edge",
        "model",
        "model_sha256",
        "anchored",
        "aligned",
        "values",
        "classes",
    ),
    *(
        "curves",
        "fractions",
        "verdict",
        "verdict_reason",
        "widening",
        "chemistry",
        "in_domain",
        "domain_judged",
        "domain_p",
        "domain_score",
        "domain_reason",
        "latent",
        "correlation",
        "flags",
        "refused",
        "size",
        "e0",
        "edge_step",
        "seconds",
    ),
}


def results(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())
    return found


def test_results_come_in_order_with_refusals_among_them(
    run: Run, pt: Path, counts_file: Path, mu_file: Path, foil_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.dat").touch()
    paths = [counts_file, tmp_path / "missing.dat", mu_file, tmp_path / "empty.dat", foil_file]
    out = tmp_path / "out.json"
    result = run("replay", *paths, "--model", pt, "--anchor", foil_file, "--align", "none", "--json", out)
    assert result.exit_code == 0, result.output
    records = results(out)
    assert [r["source"] for r in records] == [str(path) for path in paths]
    assert [r["scan"] for r in records] == [path.name for path in paths]
    assert all(set(r) == KEYS for r in records)
    assert [bool(r["refused"]) for r in records] == [False, True, False, True, False]
    assert records[1]["refused"] == "no such file"
    assert records[1]["values"] == {}
    assert records[1]["model"] == records[0]["model"] == "pt-l3"
    good = records[0]
    assert good["read"]["channels"]["energy"] == "column 0 (energy)"
    assert good["read"]["energy_unit"] == "eV"
    assert (good["element"], good["edge"], good["anchored"], good["aligned"]) == ("Pt", "L3", True, "none")
    assert set(good["values"]) == {"CN1", "CN2", "CN3", "CN4", "R1"}
    assert set(good["values"]["CN1"]) == {
        "value", "std", "lower", "upper", "level", "unit", "statistical", "model",
    }  # fmt: skip
    assert set(good["size"]) == {"diameter_nm", "lower", "upper", "label"}
    # the same sample, once as counts and once as mu
    assert records[2]["values"]["CN1"]["value"] == pytest.approx(good["values"]["CN1"]["value"], abs=0.1)
    assert good["values"]["CN1"]["value"] == pytest.approx(7.85, abs=1.0)
    assert records[4]["values"]["CN1"]["value"] > 11
    assert f"Anchored by {foil_file}" in result.output
    assert "3 spectra analysed, 2 refused" in result.output


def test_reference_channel_as_anchor_by_numbered_columns(
    run: Run, pt: Path, counts_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    columns = "energy=0,i0=1,it=2,ir=3"
    result = run(
        "replay", counts_file, "--model", pt, "--anchor", "reference", "--columns", columns, "--json", out
    )
    assert result.exit_code == 0, result.output
    (record,) = results(out)
    assert (record["anchored"], record["aligned"]) == (True, "reference")
    assert record["values"]["CN1"]["value"] == pytest.approx(7.85, abs=1.0)


def test_columns_do_not_apply_to_the_anchor(
    run: Run, pt: Path, counts_file: Path, foil_file: Path, tmp_path: Path
) -> None:
    arguments = (
        "replay",
        counts_file,
        "--model",
        pt,
        "--columns",
        "energy=0,i0=1,it=2",
        "--anchor",
        foil_file,
    )
    assert run(*arguments).exit_code == 0
    result = run(*arguments, "--anchor-columns", "energy=0,mu=7")
    assert result.exit_code == 2
    assert "mu=7" in result.output


def test_a_number_of_ev_as_alignment(
    run: Run, pt: Path, mu_file: Path, foil_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    result = run("replay", mu_file, "--model", pt, "--anchor", foil_file, "--align", "-0.5", "--json", out)
    assert result.exit_code == 0, result.output
    assert "-0.5" in results(out)[0]["aligned"]


def test_a_measured_standard_gives_its_share(
    run: Run, pt: Path, mu_file: Path, foil_file: Path, tmp_path: Path
) -> None:
    energy, mu = np.loadtxt(mu_file).T
    x, foil = energy - 11564.0, np.loadtxt(foil_file).T[1]
    step, low = np.median(foil[x > 100]) - np.median(foil[x < -50]), foil[0]
    rise = 0.5 + np.arctan((x - 1.0) / 2.0) / np.pi
    oxide = low + step * (rise + 1.2 * np.exp(-0.5 * ((x - 2.0) / 3.0) ** 2))
    for name, values in (("oxide.dat", oxide), ("mixed.dat", 0.7 * mu + 0.3 * oxide)):
        np.savetxt(tmp_path / name, np.column_stack([energy, values]), header="energy mu")
    out = tmp_path / "out.json"
    given = f"oxide={tmp_path / 'oxide.dat'}"
    result = run(
        "replay", tmp_path / "mixed.dat", "--model", pt, "--anchor", foil_file, "--align", "none",
        "--standards", given, "--json", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (record,) = json.loads(out.read_text())
    if "fractions_degenerate" in record["flags"]:
        assert list(record["values"]) == ["CN1_sample"]
    else:
        assert record["fractions"]["oxide"]["value"] == pytest.approx(0.3, abs=0.1)
        assert {"CN1", "CN1_sample"} <= set(record["values"])
    result = run(
        "replay", mu_file, "--model", pt, "--anchor", foil_file, "--standards", f"oxide={pt / 'card.json'}"
    )
    assert result.exit_code == 2
    assert "--standards" in result.output


def test_wrong_element_is_refused_cleanly(run: Run, pt: Path, tmp_path: Path, mu_file: Path) -> None:
    text = "# element: Au\n# edge: L3\n" + mu_file.read_text()
    (tmp_path / "gold.dat").write_text(text)
    out = tmp_path / "out.json"
    assert run("replay", tmp_path / "gold.dat", "--model", pt, "--json", out).exit_code == 3
    assert "Au" in results(out)[0]["refused"]


def test_plot(run: Run, pt: Path, counts_file: Path, tmp_path: Path) -> None:
    result = run("replay", counts_file, "--model", pt, "--plot", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--columns", "energy=0"], "no spectrum can be made"),
        (["--columns", "energy=zero,mu=1"], "count from 0"),
        (["--align", "left"], "use auto, reference, none, e0, or a number"),
        (["--align", "51"], "-50 to 50"),
        (["--align", "nan"], "a number of eV"),
        (["--mode", "reflection"], "transmission"),
        (["--model", "no-such-model"], "no model"),
        (["--model", "pt-l3", "--model", "au-l4"], "no model 'au-l4'"),
        (["--model", "pt-l3", "--model", "pt-l3"], "given 2 times"),
        (["--anchor", "no such file.dat"], "no such file"),
        (["--anchor", "reference", "--anchor-columns", "energy=0,mu=1"], "give it as --anchor FILE"),
        (["--standards", "PtO2"], "NAME=FILE"),
        (["--json", "/no/such/folder/out.json"], "no folder"),
        (["--json", "/"], "is a folder"),
        (["--plot", "out.xyz"], "no kind of picture"),
        (["--archive", ""], "is empty"),
        (["--archive", "http://me:secret@localhost:1"], "takes an API key instead"),
        (["--derived", "folder"], "with --archive"),
        (["--redo"], "with --archive"),
        (["--from", "http://127.0.0.1:1", "--columns", "energy=0,mu=1"], "are for files"),
    ],
)
def test_unusable_arguments_end_with_2_and_say_what_to_do(
    run: Run, pt: Path, counts_file: Path, arguments: list[str], complaint: str
) -> None:
    model = [] if "--model" in arguments else ["--model", pt]
    result = run("replay", counts_file, *model, *arguments)
    assert result.exit_code == 2, result.output
    assert complaint in " ".join(result.output.split())


def test_replay_into_an_archive_and_again_from_it(
    run: Run, pt: Path, archive: Archive, counts_file: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    result = run("replay", counts_file, "--model", pt, "--archive", archive.folder, "--json", first)
    assert result.exit_code == 0, result.output
    uid = archive.client[-1].start["uid"]
    # as before, a second time, and the same once more as a new attempt
    options = ("--model", pt, "--from", archive.folder)
    result = run("replay", uid, "0badf00d", *options, "--archive", archive.folder, "--json", second)
    assert result.exit_code == 0, result.output
    assert result.output.count("energy = energy (eV)") == 1
    (before,), (after, missing) = results(first), results(second)
    assert missing["refused"].startswith("no such run")
    assert (after["scan"], after["source"]) == ("sample.dat", str(archive.folder))
    for name, value in before["values"].items():
        assert after["values"][name]["value"] == pytest.approx(value["value"], abs=1e-4)
    assert attempts(archive, uid) == [1]
    assert run("replay", uid, *options, "--archive", archive.folder, "--redo").exit_code == 0
    assert attempts(archive, uid) == [1, 2]


def test_predictions_are_stored_where_the_user_says(
    run: Run, pt: Path, archive: Archive, counts_file: Path, tmp_path: Path
) -> None:
    """Of a catalog without a place beside it: here one in a folder that has none."""
    inside = f"{archive.derived.uri}?api_key={archive.api_key}"
    result = run("replay", counts_file, "--model", pt, "--archive", inside)
    assert result.exit_code == 2
    assert "--derived FOLDER" in " ".join(result.output.split())
    before, mine = len(archive.derived), tmp_path / "mine"
    result = run("replay", counts_file, "--model", pt, "--archive", archive.folder, "--derived", mine)
    assert result.exit_code == 0, result.output
    assert len(archive.derived) == before
    rows = xas_live.predictions(mine, -1)
    assert list(rows["sample"]) == ["sample"]
    result = run("replay", "--model", pt, "--from", archive.folder, "--", "-1")
    assert result.exit_code == 0, result.output
    assert "1 spectra analysed" in result.output


def test_repeats_in_a_run_give_a_last_row_with_their_average(run: Run, pt: Path, archive: Archive) -> None:
    beamline = SimulatedBeamline("pt_l3", counts=1e5)
    beamline.load(growth(4)[1])
    grid = xanes_grid(beamline.library.edge_energy)
    energies = np.concatenate([grid, grid[::-1], grid]).tolist()
    writer = archive.raw_writer()
    scan = list_scan([beamline.ion_chambers], beamline.energy, energies, md=beamline.metadata())
    (uid,) = RunEngine({})(scan, writer)
    assert writer.flush(60)
    result = run("replay", uid, "--model", pt, "--from", archive.folder)
    assert result.exit_code == 0, result.output
    rows = [line for line in result.output.splitlines() if "±" in line]
    assert len(rows) == 4
    assert "1, mean of 3" in rows[3]
    assert "3 spectra analysed, 0 refused" in result.output


def attempts(archive: Archive, raw_uid: str) -> list[int]:
    runs = archive.derived.search(Eq("raw_uid", raw_uid)).values()
    return sorted(run.start["attempt"] for run in runs)


def test_an_archive_that_stops_answering_is_said_soon(
    run: Run, pt: Path, archive: Archive, cable: Cable, mu_file: Path, home: Path
) -> None:
    address = f"http://127.0.0.1:{cable.port}/api/v1?api_key={archive.api_key}"
    began = time.monotonic()
    result = run("replay", mu_file, "--model", pt, "--archive", address)
    assert time.monotonic() - began < 30
    assert result.exit_code == 1, result.output
    assert "1 spectra analysed" in result.output
    assert f"kept in {home / 'spool'}" in result.output
    assert list(home.glob("spool/*/raw/*/*"))


def test_from_what_is_no_archive_makes_none(run: Run, pt: Path, tmp_path: Path) -> None:
    result = run("replay", "1", "--model", pt, "--from", tmp_path / "typo")
    assert result.exit_code == 2
    assert "is no archive" in result.output
    assert not (tmp_path / "typo").exists()


def test_each_absorber_gets_its_own_model(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    metals = {"au_l3": "au-l3", "pd_k": "pd-k", "pt_l3": "pt-l3"}
    files = [write(tmp_path / f"{m}.dat", growth(4, m)[1], "# energy i0 it ir", metal=m) for m in metals]
    result = run("replay", *files, "--json", out, "--plot", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    assert "shows one of the absorbers Au L3, Pd K, Pt L3" in result.output
    assert [record["model"] for record in results(out)] == list(metals.values())
    assert all(record["anchored"] for record in results(out))
    assert "Anchored by their own reference channel" in result.output


def test_several_models_judge_each_spectrum(run: Run, tuned: Path, archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    gold = write(tmp_path / "gold.dat", growth(4, "au_l3")[1], "# energy i0 it ir", metal="au_l3")
    models = ("--model", "au-l3", "--model", tuned, "--model", "au-l3-msd")
    missing = tmp_path / "missing.dat"
    result = run("replay", gold, missing, *models, "--json", out, "--archive", archive.folder)
    assert result.exit_code == 0, result.output
    assert "1 spectra analysed, 1 refused" in result.output
    records = results(out)
    assert [r["model"] for r in records] == ["au-l3", "au-tuned", "au-l3-msd", "au-l3"]
    assert [bool(r["refused"]) for r in records] == [False, False, False, True]
    assert [r["source"] for r in records] == [str(gold)] * 3 + [str(missing)]
    assert set(records[2]["values"]) == {"MSD", "radial_variance"}
    rows = [line for line in result.output.splitlines() if "±" in line]
    assert [row.split()[:2] for row in rows[:2]] == [["gold.dat", "au-l3"], ["gold.dat", "au-tuned"]]
    headers = [line.split()[:3] for line in result.output.splitlines() if "verdict" in line]
    assert headers == [["scan", "model", "CN1"], ["scan", "MSD", "radial_variance"]]
    assert rows[2].count("±") == 2
    derived = archive.derived.search(Eq("raw_uid", archive.client[-1].start["uid"])).values()
    assert {derived_run.start["model"] for derived_run in derived} == {"au-l3", "au-tuned", "au-l3-msd"}


def test_measured_files(run: Run, measured: Path, tmp_path: Path) -> None:
    folder, out = measured / "au_nanoparticles", tmp_path / "out.json"
    project = measured / "au_reduction_series" / "cyanobacteria.prj"
    foil, colloid = folder / "14_Au_foil.dat", folder / "01_0.1mM_Au_1C_Colloid.dat"
    model = SHIPPED_FOLDER / "au-l3"
    result = run("replay", colloid, foil, project, "--model", model, "--anchor", foil, "--json", out)
    assert result.exit_code == 0, result.output
    records = results(out)
    assert [r["scan"] for r in records][2:5] == ["0.12", "2.42", "4.73"]
    assert records[1]["values"]["CN1"]["value"] > records[0]["values"]["CN1"]["value"] + 1
    assert "energy shifts applied (eV): 0.12 -0.23" in result.output


def test_what_fails_unexpectedly_is_said_and_ends_with_1(
    run: Run, pt: Path, mu_file: Path, counts_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One spectrum meets a defect: the others are analysed, and the exit code tells."""
    real = Reducer.reduce

    def defective(self: Reducer, spectra: list[Spectrum]) -> Any:
        if any(spectrum.provenance.scan == mu_file.name for spectrum in spectra):
            raise ZeroDivisionError("no step")
        return real(self, spectra)

    monkeypatch.setattr(Reducer, "reduce", defective)
    out = tmp_path / "out.json"
    result = run("replay", mu_file, counts_file, "--model", pt, "--json", out)
    assert result.exit_code == 1
    assert "AnalyzerPool: ZeroDivisionError: no step" in result.output
    assert "the analysis failed (ZeroDivisionError: no step)" in " ".join(result.output.split())
    assert "1 spectra analysed, 1 refused" in result.output
    assert [bool(record["refused"]) for record in results(out)] == [True, False]


def test_ctrl_c_closes_a_mock_archive_soon(capsys: pytest.CaptureFixture[str]) -> None:
    closed: list[float] = []

    class MockArchive:
        def close(self, timeout: float) -> None:
            closed.append(timeout)

    for error, expected in ((KeyboardInterrupt, [1.0]), (SystemExit, [1.0])):
        with pytest.raises(error), quick_close_on_interrupt(MockArchive()):  # type: ignore[arg-type]
            raise error
        assert closed == expected
    assert "is kept" in capsys.readouterr().err


def test_what_was_understood_is_said_under_the_table(
    run: Run, pt: Path, mu_file: Path, tmp_path: Path
) -> None:
    lines = mu_file.read_text().splitlines()
    lines.insert(40, "# the beam went, and came back")
    (tmp_path / "noted.dat").write_text("\n".join(lines))
    result = run("replay", mu_file, tmp_path / "noted.dat", "--model", pt, "--anchor", "none")
    assert "read energy from column 0, mu from column 1" in result.output
    assert "guessed: energy and mu: two columns without names: all" in result.output
    assert "energy in eV: all" in result.output
    assert "left out: 1 line of text within the table" in result.output
    assert "noted.dat" in result.output.split("left out:")[1]


def test_nothing_analysed_ends_with_3(run: Run, pt: Path, mu_file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.dat").write_text("")
    assert run("replay", tmp_path / "empty.dat", tmp_path / "none.dat", "--model", pt).exit_code == 3
    assert run("replay", tmp_path / "empty.dat", mu_file, "--model", pt).exit_code == 0


def test_runs_are_chosen_by_sample_date_and_from_the_end(
    run: Run, pt: Path, archive: Archive, mu_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    last = write(tmp_path / "last.dat", growth(4)[2], "# energy mu")
    stored = run("replay", mu_file, last, "--model", pt, "--archive", archive.folder)
    assert stored.exit_code == 0, stored.output
    from_archive = ("--from", archive.folder, "--model", pt, "--json", out)
    assert run("replay", "-1", *from_archive).exit_code == 0
    assert [record["scan"] for record in results(out)] == ["last.dat"]
    assert run("replay", *from_archive, "--sample", "SAMPLE_m*", "--since", "2020-01-01").exit_code == 0
    assert {record["scan"] for record in results(out)} == {"sample_mu.dat"}
    for choice in (("--until", "2001-01-01"), ("--sample", "nobody's")):
        result = run("replay", *from_archive, *choice)
        assert result.exit_code == 3
        assert "No run" in result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give the files"),
        (["--sample", "Pt"], "with --from"),
        (["--since", "yesterday", "--from", "FOLDER"], "is no date"),
        (["7", "--sample", "Pt", "--from", "FOLDER"], "not both"),
        (["--modle", "pt-l3"], "no such option: --modle"),
        (["-1"], "no such option: -1"),
    ],
)
def test_choices_that_do_not_go_together_end_with_2(
    run: Run, archive: Archive, arguments: list[str], complaint: str
) -> None:
    result = run("replay", *(str(archive.folder) if a == "FOLDER" else a for a in arguments))
    assert result.exit_code == 2, result.output
    assert complaint in " ".join(result.output.split())
