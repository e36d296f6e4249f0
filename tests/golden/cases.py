"""What is computed for the golden files: one function a file, each gives plain dictionaries and lists."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import access
import event_model
import numpy as np
from access import Array, Record, absorbed, analyzer, fitted, metal, plain, pool, spectrum
from scipy.ndimage import gaussian_filter1d

MODELS = {"pt-l3": "pt_l3", "pd-k": "pd_k", "au-l3": "au_l3", "au-l3-msd": "au_l3"}
"""The shipped models, and the library whose particles each is asked about."""

PARTICLES: dict[str, dict[str, float] | None] = {
    "13 atoms": {"cuboctahedron_3_1": 1.0},
    "55 and 147 atoms": {"cuboctahedron_5_2": 0.4, "cuboctahedron_7_3": 0.6},
    "309 atoms": {"cuboctahedron_9_4": 1.0},
    "bulk": None,
}
NOISE = 0.002  # of a point, in edge steps
BLANK = 0.2  # absorption of everything else in the beam
ROOM = 295.0  # K
BEAM = 1e6  # counts before the sample


class NoDataError(Exception):
    """The measured spectra are not here."""


def names_of(those: Iterable[str]) -> dict[str, None]:
    """Names as keys, for later code may add some."""
    return dict.fromkeys(those)


# --- simulated spectra ------------------------------------------------------------------------------------


def scan(library: str, particles: Mapping[str, float] | None, *, seed: int | None = None, end: float = 600.0,
         reference: bool = True, shift: float = 0.0, thickness: float = 1.0, **rest: Any) -> Any:  # fmt: skip
    """A simulated sweep; with noise where a seed is given; `shift` (eV) is the monochromator's."""
    known = metal(library, end)
    mu, foil = (absorbed(library, p, known.energy - shift) for p in (particles, None))
    noise = 0.0 if seed is None else NOISE * np.random.default_rng(seed).standard_normal(len(mu))
    about = {"element": known.element, "edge": known.edge, "temperature": ROOM}
    about |= {"reference": foil + BLANK} if reference else {}
    return spectrum(known.energy, thickness * (mu + noise) + BLANK, **(about | rest))


def foil_of(library: str) -> Any:
    """The foil by itself."""
    return scan(library, None, reference=False, scan="foil")


def beam(n: int) -> Array:
    """Counts before the sample over a sweep: as the orbit drifts, so do they."""
    return BEAM * (1.0 + 0.05 * np.sin(np.linspace(0.0, 2.0, n)))


def series(library: str) -> list[Any]:
    """Every sample three times, in one run each; the monochromator drifts."""
    return [
        scan(library, particles, seed=10 * k + sweep, shift=0.1 * sweep, scan=name, run=name, sweep=sweep)
        for k, (name, particles) in enumerate(PARTICLES.items())
        for sweep in range(3)
    ]


def odd(library: str) -> dict[str, Any]:
    """Sweeps with something wrong, some of which are refused."""
    known, sample = metal(library), PARTICLES["309 atoms"]
    energy, n = known.energy, len(known.energy)
    good = scan(library, sample, seed=7).mu
    about = {"element": known.element, "edge": known.edge}
    jumps = 1.0 + 0.2 * np.sin(np.arange(n))
    i0, late = beam(n), energy > known.edge_energy - 32.0
    jump, spike, missing = good.copy(), good.copy(), good.copy()
    noise = np.random.default_rng(8).standard_normal(n)
    jump[n // 2] += 0.4
    spike[np.searchsorted(energy, known.edge_energy + 20.0)] += 0.1
    missing[[5, 40]] = np.nan
    return {
        "another element": spectrum(energy, good, element="Cu", edge="K"),
        "no absorber": spectrum(energy, good),
        "flat": spectrum(energy, np.full(n, 0.7), **about),
        "dead detector": access.counted(energy, {"i0": i0, "it": np.zeros(n)}, **about),
        "edge elsewhere": spectrum(energy + 300.0, good, **about),
        "keV": spectrum(energy / 1000.0, good, **about),
        "ends early": spectrum(energy[: n // 2], good[: n // 2], **about),
        "few points": spectrum(energy[::20], good[::20], **about),
        "only noise": spectrum(energy, noise, **about),
        "backwards": spectrum(energy, good[::-1], **about),
        "noisy": spectrum(energy, good + 0.03 * noise, **about),
        "jump": spectrum(energy, jump, **about),
        "glitch": spectrum(energy, spike, **about),
        "points missing": spectrum(energy, missing, **about),
        "out of order": spectrum(energy[::-1], good[::-1], **about),
        "repeated energies": spectrum(np.repeat(energy, 2), np.repeat(good, 2), **about),
        "hot": spectrum(energy, good, temperature=600.0, **about),
        "aborted": spectrum(energy, good, complete=False, **about),
        "fluorescence": access.counted(energy, {"i0": i0, "iff": 1e4 * good}, **about),
        "saturated": access.counted(energy, {"i0": np.full(n, BEAM), "it": i0 * np.exp(-good)}, **about),
        "jumping i0": access.counted(energy, {"i0": i0 * jumps, "it": i0 * np.exp(-good)}, **about),
        "short": scan(library, sample, end=110.0, reference=False),
        "bad reference": spectrum(energy, good, reference=np.full(n, 0.3), **about),
        "another reference": spectrum(energy, good, reference=good[::-1].copy(), **about),
        "broad reference": spectrum(
            energy, good, reference=gaussian_filter1d(absorbed(library, None, energy), 4.0), **about
        ),
        "little pre-edge": spectrum(energy[late], good[late], **about),
        "weeks later": access.later(spectrum(energy, good, temperature=ROOM, **about), 30.0),
        "dense": _dense(library, sample, about),
    }


def _dense(library: str, sample: Mapping[str, float] | None, about: Mapping[str, Any]) -> Any:
    """A sweep of a few thousand points, as a fast monochromator gives."""
    edge = metal(library).edge_energy
    energy = np.linspace(edge - 150.0, edge + 600.0, 6000)
    noise = 0.01 * np.random.default_rng(9).standard_normal(len(energy))
    return spectrum(energy, absorbed(library, sample, energy) + noise + BLANK, **about)


def simulated() -> Record:
    """A series by every model: own reference channel, a fitted foil, without an anchor, other choices."""
    found: Record = {}
    for model, library in MODELS.items():
        sweeps, foil = series(library), fitted(foil_of(library), model)
        few = [sweeps[0], sweeps[6]]
        alone = [scan(library, p, seed=3, reference=False, scan=n) for n, p in PARTICLES.items()][:3:2]
        by_reference = analyzer(model, "reference")
        predictions = by_reference.analyze(sweeps)
        averages = by_reference.analyze(access.averages_of(sweeps, predictions))
        said = {
            "reference": predictions,
            "averages": averages,
            "foil": analyzer(model, foil).analyze(alone),
            "foil, own reference": analyzer(model, foil).analyze(few),
            "foil, not aligned": analyzer(model, foil, "none").analyze(few),
            "foil, by e0": analyzer(model, foil, "e0").analyze(few),
            "foil, by a number": analyzer(model, foil, 0.3).analyze(few),
            "foil, level 0.7": analyzer(model, foil, level=0.7).analyze(few),
            "fallback": analyzer(model, "reference", fallback=foil).analyze(alone),
            "no reference": analyzer(model, "reference").analyze(alone),
            "unanchored": analyzer(model, None).analyze(few),
        }
        found[model] = {how: [plain(p) for p in those] for how, those in said.items()}
        found[model]["curves"] = [plain(p, curves=True) for p in by_reference.analyze(sweeps[6:7])]
    return found


def refused() -> Record:
    """Sweeps with something wrong, each by itself: the reason, or the flags."""
    found: Record = {}
    for model in ("pt-l3", "pd-k", "au-l3-msd"):
        library = MODELS[model]
        strange = odd(library)
        by_foil, by_reference = (
            analyzer(model, fitted(foil_of(library), model)),
            analyzer(model, "reference"),
        )
        found[model] = {name: plain(by_foil.analyze([s])[0]) for name, s in strange.items()}
        foil = foil_of(library)
        noise = 0.008 * np.random.default_rng(6).standard_normal(len(foil.mu))
        noisy = spectrum(foil.energy, foil.mu + noise, element=foil.element, edge=foil.edge, temperature=ROOM)
        by_noisy = analyzer(model, fitted(noisy, model))
        found[model]["by a noisy foil"] = plain(by_noisy.analyze([strange["hot"]])[0])
        for name in ("bad reference", "another reference", "broad reference"):
            found[model][f"{name}, as anchor"] = plain(by_reference.analyze([strange[name]])[0])
    strange = odd("pt_l3")
    found["pools"] = {
        "no model": plain(pool(None).analyze([strange["another element"]])[0]),
        "no absorber": plain(pool(None).analyze([strange["no absorber"]])[0]),
        "picked": [
            plain(p) for p in pool(None).analyze([scan(li, None) for li in ("pt_l3", "pd_k", "au_l3")])
        ],
        "together": [plain(p) for p in pool("pt-l3").analyze(list(strange.values()))],
    }
    return found


def standards() -> Record:
    """Samples partly oxidised, with the oxide as standard, and with two."""
    found: Record = {}
    for model, library, names in (("pt-l3", "pt_l3", ("PtO2", "PtO")), ("pd-k", "pd_k", ("PdO",))):
        known = metal(library)
        about = {"element": known.element, "edge": known.edge, "temperature": ROOM}
        pure = [access.oxide(library, name, known.energy) for name in names]
        phases = {n: spectrum(known.energy, mu + BLANK, **about) for n, mu in zip(names, pure, strict=True)}
        sweeps = []
        for k, (share, particles) in enumerate(
            ((0.0, "309 atoms"), (0.3, "55 and 147 atoms"), (0.8, "bulk"))
        ):
            clean = scan(library, PARTICLES[particles], seed=20 + k)
            sweeps.append(
                spectrum(known.energy, (1 - share) * clean.mu + share * (pure[0] + BLANK), scan=particles,
                         reference=clean.reference, **about)
            )  # fmt: skip
        foil, first = fitted(foil_of(library), model), {names[0]: phases[names[0]]}
        said = {
            "without": analyzer(model, foil).analyze(sweeps),
            "one, foil": analyzer(model, foil, standards=first).analyze(sweeps),
            "one, reference": pool(model, "reference", standards=first).analyze(sweeps),
            "all": analyzer(model, foil, standards=phases).analyze(sweeps),
            "unanchored": analyzer(model, None, standards=first).analyze(sweeps[:1]),
            "the metal itself": analyzer(model, foil, standards={"bulk": foil_of(library)}).analyze(
                sweeps[:2]
            ),
        }
        found[model] = {how: [plain(p) for p in those] for how, those in said.items()}
    return found


def partial() -> Record:
    """Growing sweeps: of the first sweep by a fitted foil, and later ones by the sweep before."""
    ends = (-30, 20, 31, 45, 70, 110, 200, 500)
    found: Record = {}
    for model, library in MODELS.items():
        edge = metal(library).edge_energy
        whole = scan(library, PARTICLES["55 and 147 atoms"], seed=30, scan="growing")
        growing = {f"{end} eV": access.cut(whole, edge + end) for end in ends}
        by_foil, by_reference = (
            analyzer(model, fitted(foil_of(library), model)),
            analyzer(model, "reference"),
        )
        nothing = by_reference.preview(growing["110 eV"])
        before = by_reference.analyze([scan(library, PARTICLES["309 atoms"], seed=31, shift=0.4)])[0]
        known = (before.edge_step, 0.01)
        found[model] = {
            "first sweep": {end: plain(by_foil.preview(s)) for end, s in growing.items()},
            "before any sweep": plain(nothing),
            "later": {end: plain(by_reference.preview(s)) for end, s in growing.items()},
            "later, edge step known": {
                end: plain(by_reference.preview(s, known)) for end, s in growing.items()
            },
            "unanchored": plain(analyzer(model).preview(growing["110 eV"])),
            "of a pool": plain(pool(model, fitted(foil_of(library), model)).preview(growing["70 eV"])),
            "whole": plain(by_foil.analyze([whole])[0]),
        }
    return found


def several() -> Record:
    """Two models about the same sweeps."""
    names = ["au-l3", "au-l3-msd"]
    sweeps, foil = [*series("au_l3")[::4], *series("pt_l3")[:1]], fitted(foil_of("au_l3"), "au-l3")
    lone = [scan("au_l3", PARTICLES["13 atoms"], seed=3, reference=False, scan="13 atoms")]
    said = {
        "reference": pool(names, "reference").analyze_all(sweeps),
        "foil": pool(names, foil).analyze_all(sweeps),
        "auto": pool(names).analyze_all(sweeps + lone),
        "the other leads": pool(names[::-1], foil).analyze_all(sweeps[:2]),
    }
    found: Record = {how: [[plain(p) for p in of] for of in those] for how, those in said.items()}
    found["leads"] = [plain(p) for p in pool(names, foil).analyze(sweeps)]
    return found


def in_process() -> Record:
    """What a pool of this process says of what the second process is asked about."""
    foil = fitted(foil_of("au_l3"), "au-l3")
    return _asked(pool(["au-l3", "au-l3-msd"], foil))


def second_process() -> Record:
    """The same of the second process."""
    foil = fitted(foil_of("au_l3"), "au-l3")
    with access.process(["au-l3", "au-l3-msd"], foil) as analyzes:
        return _asked(analyzes)


def _asked(analyzes: Any) -> Record:
    sweeps = [*series("au_l3")[1::3], odd("au_l3")["flat"]]
    growing = access.cut(sweeps[1], metal("au_l3").edge_energy + 100.0)
    return {
        "analyze": [plain(p) for p in analyzes.analyze(sweeps)],
        "analyze_all": [[plain(p) for p in of] for of in analyzes.analyze_all(sweeps)],
        "preview": plain(analyzes.preview(growing, (1.0, 0.01))),
    }


# --- a live run -------------------------------------------------------------------------------------------


def run_documents(library: str, uid: str, mus: list[tuple[Array, Array]]) -> Iterator[tuple[str, Any]]:
    """A run of sweeps upwards, each of (sample, foil) absorption; an event page a sweep."""
    known = metal(library)
    start = {"element": known.element, "edge": known.edge, "temperature": ROOM, "scan_id": 17}
    run = event_model.compose_run(uid=uid, time=1.7e9, metadata=start)
    yield "start", run.start_doc
    names = ("energy", "i0", "it", "ir")
    keys = {name: {"dtype": "number", "shape": [], "source": "golden"} for name in names}
    keys["energy"]["units"] = "eV"
    stream = run.compose_descriptor(
        name="primary", data_keys=keys, object_keys={"golden": list(names)}, configuration={}
    )
    yield "descriptor", stream.descriptor_doc
    n = len(known.energy)
    i0 = beam(n)
    for sweep, (mu, foil) in enumerate(mus):
        it = i0 * np.exp(-mu)
        columns = (known.energy, i0, it, it * np.exp(-foil))
        times = (1.7e9 + sweep * n + np.arange(n)).tolist()
        data = {name: column.tolist() for name, column in zip(names, columns, strict=True)}
        yield (
            "event_page",
            stream.compose_event_page(
                data=data,
                timestamps=dict.fromkeys(data, times),
                time=times,
                seq_num=list(range(sweep * n + 1, (sweep + 1) * n + 1)),
                validate=False,
            ),
        )
    yield "stop", run.compose_stop(time=1.7e9 + len(mus) * n)


def live() -> Record:
    """Live-fed runs with repeats: predictions, averages, the table, and the derived runs' documents."""
    found: Record = {}
    dead = (np.full_like(metal("au_l3").energy, 0.5), np.full_like(metal("au_l3").energy, 0.2))
    for name, library, models, anchor in (
        ("one model", "pt_l3", "pt-l3", "reference"),
        ("two models", "au_l3", ["au-l3", "au-l3-msd"], "foil"),
    ):
        by = fitted(foil_of(library), models[0]) if anchor == "foil" else anchor
        samples = [PARTICLES["309 atoms"]] * 3
        sweeps = [scan(library, p, seed=40 + k) for k, p in enumerate(samples)]
        mus = [(s.mu, s.reference) for s in sweeps]
        if name == "two models":
            mus[0] = dead
        uid = "5a5a5a5a-0000-4000-8000-000000000000"
        seen = access.watched(pool(models, by), run_documents(library, uid, mus))
        found[name] = {
            "errors": seen.errors,
            "predictions": [plain(p) for p in seen.predictions],
            "averages": [plain(p) for p in seen.averages],
            "table": access.without_hashes({k: v for k, v in seen.table.items() if k not in ("time", "lag")}),
            "columns": names_of(seen.table),
            "derived": derived(seen.documents, arrays=name == "one model"),
        }
    return found


def derived(documents: list[tuple[str, Mapping[str, Any]]], *, arrays: bool) -> list[Record]:
    """Documents of derived runs, one record a run: start, streams with their columns and values, stop."""
    runs: dict[str, Record] = {}
    streams: dict[str, tuple[Record, list[str]]] = {}
    skipped = {"uid", "time", "model_sha256", "raw_uid", "software", "analysed_at"}
    for name, doc in documents:
        if name == "start":
            start = {key: value for key, value in doc.items() if key not in skipped}
            runs[doc["uid"]] = {"start": access.without_hashes(start), "keys": names_of(doc), "streams": {}}
        elif name == "descriptor":
            keys = doc["data_keys"]
            stream = {
                "data_keys": keys,
                "hints": doc["hints"],
                "object_keys": doc["object_keys"],
                "pages": [],
            }
            runs[doc["run_start"]]["streams"][doc["name"]] = stream
            kept = [k for k, key in keys.items() if k != "analysis_seconds" and (arrays or not key["shape"])]
            streams[doc["uid"]] = (stream, kept)
        elif name == "event_page":
            stream, kept = streams[doc["descriptor"]]
            page = {"seq_num": list(doc["seq_num"])}
            page["data"] = {key: np.asarray(doc["data"][key]).tolist() for key in kept}
            stream["pages"].append(page)
        elif name == "stop":
            stop = {key: doc.get(key) for key in ("exit_status", "reason", "num_events")}
            runs[doc["run_start"]]["stop"] = stop
    return list(runs.values())


# --- files and the command line ---------------------------------------------------------------------------


def command_line() -> Record:
    """`xas-live replay --json` over simulated files."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        with access.home(folder / "home"):
            return _replays(folder)


def _replays(folder: Path) -> Record:
    known = metal("pt_l3")
    energy, foil = known.energy, absorbed("pt_l3", None, known.energy) + BLANK
    small, large = (scan("pt_l3", PARTICLES[p], seed=50).mu for p in ("13 atoms", "309 atoms"))
    i0 = beam(len(energy))
    it = i0 * np.exp(-large)
    oxide = access.oxide("pt_l3", "PtO2", energy) + BLANK
    gold = scan("au_l3", PARTICLES["309 atoms"], seed=51)
    files = {
        "foil.dat": ("energy mu", (energy, foil)),
        "oxide.dat": ("energy mu", (energy, oxide)),
        "small.dat": ("energy mu", (energy, small)),
        "mixed.dat": ("energy mu", (energy, 0.7 * large + 0.3 * oxide)),
        "counts.dat": ("energy i0 it ir", (energy, i0, it, it * np.exp(-foil))),
        "gold.dat": ("energy mu reference", (gold.energy, gold.mu, gold.reference)),
        "flat.dat": ("energy mu", (energy, np.full_like(energy, 0.3))),
    }
    for name, (header, columns) in files.items():
        np.savetxt(folder / name, np.column_stack(columns), header=header, fmt="%.10g")
    (folder / "empty.dat").touch()
    anchor, json_file = folder / "foil.dat", folder / "out.json"
    metal_files = ["small.dat", "mixed.dat", "counts.dat", "flat.dat", "missing.dat", "empty.dat", "gold.dat"]
    calls: dict[str, tuple[list[str], list[object]]] = {
        "foil": (metal_files, ["--model", "pt-l3", "--anchor", anchor]),
        "foil, not aligned": (metal_files[:3], ["--model", "pt-l3", "--anchor", anchor, "--align", "none"]),
        "standards": (
            metal_files[:3],
            ["--model", "pt-l3", "--anchor", anchor, "--standards", f"oxide={folder / 'oxide.dat'}"],
        ),
        "by absorber": (["counts.dat", "gold.dat", "small.dat"], []),
        "two models": (["gold.dat"], ["--model", "au-l3", "--model", "au-l3-msd", "--anchor", "reference"]),
        "columns": (["counts.dat"], ["--columns", "energy=0,i0=1,it=2", "--anchor", "none"]),
    }
    found: Record = {}
    for name, (paths, options) in calls.items():
        code, output = access.command("replay", *(folder / p for p in paths), *options, "--json", json_file)
        if code:
            raise RuntimeError(output)
        records = access.without_hashes(json.loads(json_file.read_text(encoding="utf-8")))
        found[name] = [
            {key: value for key, value in record.items() if key not in access.LEFT_OUT} for record in records
        ]
        found[f"{name}: keys"] = names_of(records[0])
    return json.loads(json.dumps(found).replace(str(folder), "FOLDER"))


# --- measured spectra -------------------------------------------------------------------------------------


def measured_folder() -> Path:
    """Other people's measured spectra; raises NoDataError when they are not here."""
    given = os.environ.get("XAS_LIVE_TEST_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "data"
    if not (folder / "measured").is_dir():
        raise NoDataError("no measured spectra: set XAS_LIVE_TEST_DATA to the folder that holds measured/")
    return folder / "measured"


FOILS = {
    "au-l3": ["au_nanoparticles/14_Au_foil.dat", "foils_nsls/Au_foil_Au_L3.dat",
              "foils_xdi/Au_Foil_L3_rt_2016Foils.xdi"],
    "pt-l3": ["foils_nsls/Pt_foil_Pt_L3.dat", "foils_xdi/pt_metal_rt.xdi"],
}  # fmt: skip
B18_COLUMNS = {"energy": 0, "i0": 2, "it": 3, "ir": 4}


def measured() -> Record:
    """Real spectra: only what is predicted of them is kept, nothing that is measured or drawn from it."""
    folder = measured_folder()

    def anchor(model: str, name: str) -> Any:
        return fitted(access.spectrum_in(folder / name), model)

    colloids = sorted((folder / "au_nanoparticles").glob("*.dat"))
    gold = anchor("au-l3", FOILS["au-l3"][0])
    both = ["au-l3", "au-l3-msd"]
    b18 = [s for f in sorted((folder / "b18_pt3sn").glob("*.dat")) for s in access.scans_in(f, B18_COLUMNS)]
    catalysts = sorted((folder / "xraylarch_pt").glob("*.dat"))
    platinum = {Path(name).name: anchor("pt-l3", name) for name in FOILS["pt-l3"]}
    said = {
        "colloids": access.replayed(colloids, pool(both, gold)),
        "colloids, unanchored": access.replayed(colloids[:2], pool("au-l3", None)),
        "reduction": access.replayed(
            [folder / "au_reduction_series" / "cyanobacteria.prj"], pool("au-l3", gold, "e0")
        ),
        "Pt3Sn": access.replayed(b18, pool("pt-l3", "reference")),
        **{
            f"catalysts by {n}": access.replayed(catalysts, pool("pt-l3", a, "e0"))
            for n, a in platinum.items()
        },
    }
    palladium = [folder / "qas_raw" / "Pd_foil_0001.dat", folder / "foils_nsls" / "Pd_foil_Pd_K.dat"]
    said["palladium"] = access.replayed(
        palladium, pool("pd-k", fitted(access.spectrum_in(palladium[1]), "pd-k"))
    )
    said["palladium, reference"] = access.replayed(palladium, pool(None, "reference"))
    for model, names in FOILS.items():
        for own in names:
            others = [folder / name for name in names if name != own]
            said[f"foils by {own}"] = access.replayed(others, pool(model, anchor(model, own), "e0"))
    return {how: [plain(p) for p in those] for how, those in said.items()}


CASES: dict[str, Callable[[], Record]] = {
    "simulated": simulated,
    "refused": refused,
    "standards": standards,
    "partial": partial,
    "several": several,
    "second_process": in_process,
    "live": live,
    "command_line": command_line,
    "measured": measured,
}
"""What gives each golden file; that of the second process is made in this one."""
