"""A rule pauses a scan of a session; the user resumes or aborts, and the archive tells all of it."""

from __future__ import annotations

import time
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plans as bp
from bluesky.utils import RunEngineInterrupted
from tiled.queries import Eq

import xas_live
from xas_live.archive import Archive
from xas_live.energy import xanes_grid
from xas_live.rules import Rule, RuleWatch
from xas_live.simulator import SimulatedBeamline, growth

pytestmark = pytest.mark.slow

GRID = xanes_grid(11919.0)[::2]


def in_archive(catalog: Any, key: str, uid: str) -> Any:
    """The complete run whose start document has this uid under `key`, as soon as it is there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for run in catalog.search(Eq(key, uid)).values():
            if run.metadata.get("stop"):
                return run
        time.sleep(0.2)
    pytest.fail(f"no complete run with {key} {uid} in the archive")


@pytest.mark.parametrize("how", ["resume", "abort"])
def test_the_audit_record_of_a_paused_scan_is_in_its_derived_run(archive: Archive, au_anchor, how):
    RE = RunEngine({})
    beamline = SimulatedBeamline("au_l3", seed=3, drift=0.0)
    beamline.load(growth(4, "au_l3")[2])
    rule = Rule(name="large", target="CN1", above=5, on=["trusted", "caution"], do="pause")
    watch = RuleWatch(RE, [rule])
    uids = []
    RE.subscribe(lambda name, doc: uids.append(doc["uid"]), "start")
    with xas_live.attach(
        RE, archive=archive, plot=False, write_raw=True, anchor=au_anchor, align="none", publishers=[watch]
    ) as xas:
        watch.bind(xas)

        def waiting(detectors, step, pos_cache):
            """The last point of the sweeps waits for the rule: the run is still open when it acts."""
            yield from bps.one_nd_step(detectors, step, pos_cache)
            while len(xas.predictions) == 2 and not xas.decisions:
                yield from bps.sleep(0.02)

        sweeps = np.concatenate([GRID, GRID[::-1], GRID]).tolist()
        plan = bp.list_scan(
            [beamline.ion_chambers], beamline.energy, sweeps, per_step=waiting, md=beamline.metadata()
        )
        with pytest.raises(RunEngineInterrupted):
            RE(plan)
        assert RE.state == "paused"
        getattr(RE, how)()
        assert RE.state == "idle"
        assert xas.wait(60)
        assert not xas.errors
        [decision] = xas.decisions
    status = {"resume": "success", "abort": "abort"}[how]
    raw = in_archive(archive.client, "uid", uids[0])
    assert raw.metadata["stop"]["exit_status"] == status
    derived = in_archive(archive.derived, "raw_uid", uids[0])
    assert derived.metadata["stop"]["exit_status"] == status
    record = derived["decisions"].read()
    assert [str(record[name].values[0]) for name in ("by", "action", "outcome", "target")] == [
        "large",
        "pause",
        "done",
        "CN1",
    ]
    assert float(record["value"][0]) == pytest.approx(decision.value)
    assert str(record["reason"].values[0]) == decision.reason
    assert len(derived["predictions"].read()["CN1"]) == (3 if how == "resume" else len(xas.predictions))
