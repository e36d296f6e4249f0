"""Whole sweeps from another process, as fast-scanning beamlines give them: none lost, in order."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiled.queries import Eq

from xas_live.analysis import Analyzer
from xas_live.callbacks.live.live_analysis import LiveAnalysis
from xas_live.callbacks.publishers.writer import PredictionWriter
from xas_live.models.registry import load_model
from xas_live.simulator.stream import POINTS, sweep_axis, sweeps_of
from xas_live.spectrum import Spectrum

pytestmark = pytest.mark.slow

SWEEPS, PER_FILE = 600, 200


def detector(folder: Path, sweeps: int = SWEEPS) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "xas_live.simulator.stream", str(folder)]
    command += ["--sweeps", str(sweeps), "--rate", "2000", "--per-file", str(PER_FILE)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_stream_of_sweeps_is_analysed_and_archived_whole_and_in_order(archive, tmp_path):
    writer = archive.derived_writer()
    analyzer = Analyzer(load_model("pt-l3"), device="cpu")
    with LiveAnalysis(analyzer, [PredictionWriter(writer)]) as live, detector(tmp_path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            live(*json.loads(line))
        assert live.wait(120)
        assert not live.errors
        assert live.status().sweeps == SWEEPS
        lag = live.status().lag
        predictions = live.predictions
    assert writer.flush(120)
    writer.close()
    (run,) = archive.derived.search(Eq("raw_uid", predictions[0].provenance.run_uid)).values()
    stored = run["predictions"].read()
    spectra = run["spectra"].read()
    assert lag is not None, "how far it was behind is told"
    assert lag > 0.0
    assert [p.provenance.sweep for p in predictions] == list(range(SWEEPS))
    np.testing.assert_array_equal(stored["sweep"], np.arange(SWEEPS))
    np.testing.assert_allclose(stored["CN1"], [p.values["CN1"].value for p in predictions])
    np.testing.assert_array_equal(spectra["sweep"], np.arange(SWEEPS))
    np.testing.assert_array_equal(spectra["flat"][-1], predictions[-1].reduced.flat)
    assert {path.name for path in tmp_path.glob("*.h5")} == {"0.h5", "1.h5", "2.h5"}


def test_what_the_detector_writes_is_what_was_in_the_beam(tmp_path):
    """The sweeps of the files, against the same one computed here."""
    with (
        LiveAnalysis(Analyzer(load_model("pt-l3"), device="cpu")) as live,
        detector(tmp_path, 400) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            live(*json.loads(line))
        assert live.wait(120)
        found = live.predictions[201]  # of the second file
    energy = sweep_axis("pt_l3")
    mu = sweeps_of("pt_l3", 200, energy)[1]
    sweep = Spectrum(energy=energy, mu=mu, element="Pt", edge="L3", temperature=295.0)
    (alone,) = Analyzer(load_model("pt-l3"), device="cpu").analyze([sweep])
    assert len(energy) == POINTS
    assert found.values["CN1"].value == pytest.approx(alone.values["CN1"].value, abs=1e-4)
