"""BeamlineSession: what the startup files of a profile call, one layer after the other."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xas_live.beamline.settings import VARIABLE, BeamlineSettings, SettingsFileError, read_settings
from xas_live.host import PersistentMetadata, user_folder

if TYPE_CHECKING:
    from bluesky import RunEngine

    from xas_live.archive import Archive
    from xas_live.rules import Actuator, RuleWatch
    from xas_live.session import AttachedAnalysis
    from xas_live.signals import IocLink

FILE = "beamline.toml"


class BeamlineSession:
    """The layers of a beamline session, made from its settings.

    Each method makes one layer. What cannot be had is said in one line, kept in `missing`, and is None or
    left out: the session starts all the same.

    Parameters
    ----------
    settings : of the beamline.
    say : shows a line to the user.

    Attributes
    ----------
    missing : what could not be had so far, in words.
    """

    def __init__(self, settings: BeamlineSettings, say: Callable[[str], None] | None = None) -> None:
        self.settings = settings
        self.missing: list[str] = []
        self._say = say or _print

    def lacks(self, text: str) -> None:
        """Say and keep that something could not be had."""
        line = " ".join(text.split())
        self.missing.append(line)
        self._say(line)

    def set_environment(self) -> None:
        """Set the variables of EPICS, which pyepics reads once, when it is imported."""
        wanted = self.settings.epics.environment()
        changed = {name for name, value in wanted.items() if os.environ.get(name) != value}
        if changed and "epics" in sys.modules:
            self.lacks(
                f"[epics]: pyepics is loaded already, so {', '.join(sorted(changed))} stay as they were"
            )
            return
        os.environ.update(wanted)

    def make_engine(self) -> RunEngine:
        """Make a RunEngine whose metadata, and with them scan_id, go on where the last session ended."""
        from bluesky import RunEngine

        metadata: Any = {}
        with self._layer("metadata begin anew, and scan_id at 1"):
            metadata = PersistentMetadata(user_folder("metadata") / "RE.md.json")
        RE = RunEngine(metadata)
        RE.md.update({"beamline_id": self.settings.name, **self.settings.metadata})
        return RE

    def open_archive(self) -> Archive | None:
        """Open the archive; None where it cannot be had: runs are then kept nowhere by this session."""
        from xas_live.archive import open_archive

        given = self.settings.archive
        with self._layer(f"no archive ({given.where}), runs and predictions are not stored"):
            return open_archive(given.where, derived=given.derived, readable_storage=given.readable)
        return None

    def make_devices(self) -> dict[str, Any]:
        """Make the devices by their names. Those that do not answer are there, too, and named."""
        from xas_live.devices import connect

        made: dict[str, Any] = {}
        with self._layer("no devices, pyepics cannot be used"):
            from epics import ca

            ca.replace_printf_handler()  # what libca prints of servers that come and go is said by devices
        for name, settings in self.settings.devices.items():
            with self._layer(f"no device {name}"):
                made[name] = settings.make(name)
        with self._layer("devices"):
            for line in connect(made, self.settings.epics.timeout):
                self.lacks(line)
        return made

    def make_actuators(self, devices: Mapping[str, Any]) -> dict[str, Actuator]:
        """Make what rules and plans may drive, of the devices that there are."""
        from xas_live.rules import Actuator

        made: dict[str, Actuator] = {}
        for name, settings in self.settings.actuators.items():
            if settings.device not in devices:
                self.lacks(f"no actuator {name}: there is no device {settings.device!r}")
                continue
            with self._layer(f"no actuator {name}"):
                made[name] = Actuator(devices[settings.device], settings, name)
        return made

    def attach(
        self,
        RE: RunEngine,
        archive: Archive | None = None,
        actuators: Mapping[str, Actuator] | None = None,
        actions: Mapping[str, Callable[..., Any]] | None = None,
    ) -> AttachedAnalysis | None:
        """Attach the analysis to the engine; None where it cannot be had.

        Parameters
        ----------
        RE : the engine.
        archive : where derived runs go.
        actuators : what rules may drive.
        actions : functions that rules may call, by name.
        """
        import xas_live
        from xas_live.analysis import checked_alignment
        from xas_live.callbacks.assembly import ChannelMapping

        given = self.settings.analysis
        rules = self._make_rules(RE, actuators or {}, actions or {})
        with self._layer("no analysis, scans are measured all the same"):
            return xas_live.attach(
                RE,
                model=list(given.models) or None,
                anchor=None if given.anchor == "none" else given.anchor,
                align=checked_alignment(given.align),
                archive=archive,
                plot=given.plot,
                mapping=ChannelMapping(**given.channels) if given.channels else None,
                device=given.device,
                publishers=self._make_links(),
                write_raw=self.settings.archive.raw if archive is not None else None,
                process=given.process,
                rules=rules,
            )
        return None

    def _make_rules(
        self,
        RE: RunEngine,
        actuators: Mapping[str, Actuator],
        actions: Mapping[str, Callable[..., Any]],
    ) -> RuleWatch | None:
        from xas_live.rules import RuleWatch, read_rules

        given = self.settings.rules
        if given is None:
            return None
        beside = self.settings.path.parent if self.settings.path else Path()
        with self._layer("no rules"):
            rules = read_rules(beside / Path(given.file).expanduser())
            watch = RuleWatch(
                RE, rules, actuators=actuators.values(), functions=actions, dry_run=given.dry_run
            )
            for line in watch.describe():
                self._say(line)
            return watch
        return None

    def _make_links(self) -> list[IocLink]:
        from xas_live.signals import IocLink

        given = self.settings.pvs
        if given is None:
            return []
        with self._layer(f"no PVs {given.prefix}"):
            return [IocLink(given.prefix)]
        return []

    def ready(self) -> str:
        """Return a line that says how the session has started."""
        if not self.missing:
            return f"xas_live: {self.settings.name} is ready; %xas says how it stands, %xas? what it can do"
        count = len(self.missing)
        return f"xas_live: {self.settings.name} has started; {count} missing: see beamline.missing"

    def _layer(self, without: str) -> _Layer:
        """Return a context in which what raises is said in one line, and what the session is without."""
        return _Layer(self, without)


class _Layer:
    def __init__(self, session: BeamlineSession, without: str) -> None:
        self._session, self._without = session, without

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """Let the session start, whatever failed, but for Ctrl-C."""
        if not isinstance(error, Exception | SystemExit):
            return False
        self._session.lacks(f"{self._without}: {_reason(error)}")
        return True


def load_beamline(
    path: str | Path | None = None, say: Callable[[str], None] | None = None
) -> BeamlineSession:
    """Read the settings of the beamline, and set the environment that they name.

    Parameters
    ----------
    path : of the file; default: `$XAS_LIVE_BEAMLINE`, else beamline.toml in the IPython profile's folder.
        Where there is none, or it cannot be read, all is as if it were empty.
    say : shows a line to the user; default: prints it.
    """
    show = say or _print
    file = Path(path or os.environ.get(VARIABLE) or _in_profile())
    settings, wrong = BeamlineSettings(), list[str]()
    try:
        settings, wrong = read_settings(file)
    except SettingsFileError as error:
        wrong = [f"{error}; the session has no devices, and all else is as without it"]
    session = BeamlineSession(settings, show)
    for line in wrong:
        session.lacks(line if not settings.path else f"{file.name}, {line}")
    session.set_environment()
    return session


def _in_profile() -> Path:
    from IPython import get_ipython

    shell = get_ipython()
    folder = getattr(getattr(shell, "profile_dir", None), "location", "")
    return Path(folder or ".") / FILE


def _reason(error: BaseException) -> str:
    kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
    return f"{kind}{error or type(error).__name__}"


def _print(line: str) -> None:
    print(f"xas_live: {line}", flush=True)
