"""Checks of an installation and of a beamline's settings, each with what to do where it fails."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from xas_live.beamline.session import BeamlineSession
from xas_live.host import user_folder

_LEAST_FREE_GB = 2.0
_WITHIN = 1.0  # in CN1, of the particle that is predicted as a trial


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WITHOUT = "without"
    BROKEN = "broken"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    what : in a word or two.
    state : ok; without: works, but something optional is not there; broken: has to be mended.
    found : in words.
    remedy : what to do; "" where nothing has to be done.
    """

    what: str
    state: State
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.state:<8} {self.what:<12} {self.found}{f'. {self.remedy}' if self.remedy else ''}"


def checks(session: BeamlineSession | None = None) -> Iterator[Check]:
    """Look at the installation, and at what a beamline's settings name; nothing is changed.

    Parameters
    ----------
    session : of a beamline, with its settings; None looks at the installation alone.
    """
    looked_at: dict[str, Callable[[], Iterable[Check]]] = {
        "packages": _packages,
        "models": _models,
        "prediction": _trial,
        "device": _device,
        "user folder": _folder,
        "figure": _figure,
        "EPICS": _epics,
        "publishers": _publishers,
    }
    if session is not None:
        looked_at |= {
            "settings": lambda: _settings(session),
            "archive": lambda: _archive(session),
            "devices": lambda: _devices(session),
        }
    for what, look in looked_at.items():
        try:
            yield from look()
        except Exception as error:  # noqa: BLE001 the other checks shall run
            yield Check(what, State.BROKEN, f"{type(error).__name__}: {' '.join(str(error).split())}")


def printed(found: Iterable[Check]) -> str:
    """Return checks as lines."""
    return "\n".join(map(str, found))


def _packages() -> Iterator[Check]:
    wrong = []
    for text in requires("xas-live") or ():
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            there = version(needed.name)
        except PackageNotFoundError:
            wrong.append(f"{needed.name} is missing")
            continue
        if not needed.specifier.contains(there, prereleases=True):
            wrong.append(f"{needed.name} {there} is not {needed.specifier}")
    python = ".".join(map(str, sys.version_info[:3]))
    if wrong:
        yield Check(
            "packages", State.BROKEN, ", ".join(wrong), "Install xas_live again: pip install xas-live"
        )
    else:
        yield Check(
            "packages", State.OK, f"xas_live {version('xas-live')} on Python {python}, all within bounds"
        )


def _models() -> Iterator[Check]:
    from xas_live.models import available_models, verify_model

    wrong = [f"{name} {why}" for name in available_models() if (why := verify_model(name))]
    if wrong:
        yield Check("models", State.BROKEN, "; ".join(wrong), "Install xas_live again")
    else:
        yield Check("models", State.OK, f"{', '.join(available_models())} are as shipped")


def _trial() -> Iterator[Check]:
    """Predict a simulated particle: the whole way but for documents."""
    from xas_live.analysis import Analyzer
    from xas_live.energy import xanes_grid
    from xas_live.models import load_model
    from xas_live.reduction import FoilAnchor
    from xas_live.simulator import Mismatch, growth
    from xas_live.simulator.absorption import measured
    from xas_live.spectrum import Spectrum

    energy, sample, model = xanes_grid(11564.0), growth(4)[1], load_model("pt-l3")

    def scan(of: object) -> Spectrum:
        mu = 0.2 + measured(energy, "pt_l3", of, Mismatch())  # type: ignore[arg-type]
        return Spectrum(energy=energy, mu=mu, element="Pt", edge="L3", temperature=295.0)

    (found,) = Analyzer(model, FoilAnchor.fit(scan(None), model)).analyze([scan(sample)])
    true = float(sample.truth()["CN1"])
    said = f"a simulated particle with CN1 {true:.2f} is predicted"
    if found.refused is not None or abs(found.values["CN1"].value - true) > _WITHIN:
        yield Check("prediction", State.BROKEN, f"{said} wrongly: {found}", "Please report it")
    else:
        yield Check("prediction", State.OK, f"{said} as {found.values['CN1'].value:.2f}")


def _device() -> Iterator[Check]:
    import torch

    if torch.cuda.is_available():
        yield Check("device", State.OK, torch.cuda.get_device_name())
    else:
        yield Check("device", State.WITHOUT, "no GPU: the CPU predicts, a sweep in some milliseconds")


def _folder() -> Iterator[Check]:
    folder = user_folder("", make=False)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free / 1e9
    if not os.access(there, os.W_OK):
        yield Check(
            "user folder", State.BROKEN, f"{folder} cannot be written", "Set XAS_LIVE_HOME to another"
        )
    elif free < _LEAST_FREE_GB:
        found = f"{folder} has {free:.1f} GB left"
        yield Check("user folder", State.BROKEN, found, "Make room, or set XAS_LIVE_HOME to another folder")
    else:
        yield Check("user folder", State.OK, f"{folder}, {free:.0f} GB free")


def _figure() -> Iterator[Check]:
    there = [name for name in ("tkinter", "PySide6", "ipympl") if importlib.util.find_spec(name)]
    display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) or sys.platform != "linux"
    windows = [name for name in there if name != "ipympl"]
    if display and windows:
        yield Check("figure", State.OK, f"windows by {' or '.join(windows)}")
        return
    why = "no display" if not display else "neither tkinter nor PySide6 is installed"
    remedy = "The picture is kept in a file that attach names"
    if "ipympl" not in there:
        remedy += "; a notebook needs pip install 'xas-live[notebook]'"
    yield Check("figure", State.WITHOUT, f"no window: {why}", remedy)


def _epics() -> Iterator[Check]:
    import epics

    epics.ca.find_libca()
    where = os.environ.get("EPICS_CA_ADDR_LIST") or "the networks of this machine"
    yield Check("EPICS", State.OK, f"pyepics {epics.__version__} searches PVs at {where}")


def _publishers() -> Iterator[Check]:
    from xas_live.callbacks.publishers import registered_publishers

    wrong: list[str] = []
    found = registered_publishers(wrong.append)
    for line in wrong:
        yield Check("publishers", State.BROKEN, line, "Mend or remove the package")
    if found:
        yield Check("publishers", State.OK, ", ".join(found))


def _settings(session: BeamlineSession) -> Iterator[Check]:
    settings = session.settings
    for line in session.missing:
        yield Check("settings", State.BROKEN, line)
    if settings.path is not None and not session.missing:
        parts = [f"{len(settings.devices)} devices", f"{len(settings.actuators)} actuators"]
        yield Check("settings", State.OK, f"{settings.path}: {settings.name}, {', '.join(parts)}")


def _archive(session: BeamlineSession) -> Iterator[Check]:
    from xas_live.archive.address import Address
    from xas_live.archive.uri import is_uri

    where = session.settings.archive.where
    if is_uri(where):
        Address.of_uri(where).connect()
        yield Check("archive", State.OK, f"{re.sub(r'api_key=[^&]*', 'api_key=...', where)} answers")
        return
    folder = Path(where).expanduser()
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if why := _not_writable(there):
        found = f"{folder} cannot be written: {why}"
        yield Check("archive", State.BROKEN, found, "Name another in beamline.toml")
    else:
        yield Check("archive", State.OK, f"folder {folder}")


def _not_writable(folder: Path) -> str:
    """Return why nothing can be written into a folder, or "": a file without a name is tried."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return str(error.strerror)


def _devices(session: BeamlineSession) -> Iterator[Check]:
    names = list(session.settings.devices)
    if not names:
        yield Check("devices", State.WITHOUT, "none in beamline.toml")
        return
    trial = BeamlineSession(session.settings, lambda line: None)  # the session's own list stays as it is
    trial.make_devices()
    for line in trial.missing:
        yield Check("devices", State.BROKEN, line)
    if not trial.missing:
        yield Check("devices", State.OK, f"{', '.join(names)} answer")
