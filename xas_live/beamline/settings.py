"""beamline.toml: the one file that a beamline edits, and what may stand in it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from xas_live.devices.settings import DeviceSettings
from xas_live.errors import Refusal
from xas_live.host import user_folder
from xas_live.rules import ActuatorSettings
from xas_live.toml_places import place_in

VARIABLE = "XAS_LIVE_BEAMLINE"
"""Environment variable that names the file."""


class SettingsFileError(Refusal):
    """A beamline.toml that cannot be read."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EpicsSettings(_Section):
    """Where pyepics looks for PVs; what is left out stays as the shell has it.

    Attributes
    ----------
    address_list : hosts, as in EPICS_CA_ADDR_LIST.
    auto_address_list : whether the networks of this machine are searched, too.
    port : of Channel Access.
    timeout : seconds that devices are waited for at startup.
    """

    address_list: str | None = None
    auto_address_list: bool | None = None
    port: Annotated[int, Field(gt=0, lt=65536)] | None = None
    timeout: Annotated[float, Field(gt=0)] = 5.0

    def environment(self) -> dict[str, str]:
        """Return the environment variables that this stands for."""
        auto = self.auto_address_list
        given = {
            "EPICS_CA_ADDR_LIST": self.address_list,
            "EPICS_CA_AUTO_ADDR_LIST": None if auto is None else ("YES" if auto else "NO"),
            "EPICS_CA_SERVER_PORT": None if self.port is None else str(self.port),
        }
        return {name: value for name, value in given.items() if value is not None}


class ArchiveSettings(_Section):
    """Where runs are kept.

    Attributes
    ----------
    place : a folder, in which a Tiled server is started, or the URI of a catalog; default: the user's folder.
        The variable XAS_LIVE_ARCHIVE goes before it.
    derived : where predictions go instead of beside the raw runs.
    readable : folders of detector files that runs refer to.
    raw : whether raw runs are written by this session; default: into a folder's archive, unless RE has a
        writer of runs already.
    """

    place: str | None = None
    derived: str | None = None
    readable: tuple[str, ...] = ()
    raw: bool | None = None

    @property
    def where(self) -> str:
        """The folder or URI."""
        return os.environ.get("XAS_LIVE_ARCHIVE") or self.place or str(user_folder("archive", make=False))


class AnalysisSettings(_Section):
    """How scans are analysed; see `xas_live.attach`.

    Attributes
    ----------
    models : names or folders; default: by the scan's element and edge.
    anchor : "auto", "reference" or "none".
    align : as `attach` takes it.
    device : of torch.
    process : analyse in a second process.
    plot : whether a live figure is drawn; or the PNG file that its picture is kept in.
    channels : fields of energy and detectors, as `ChannelMapping` takes them; what is left out is guessed.
    """

    models: tuple[str, ...] = ()
    anchor: Literal["auto", "reference", "none"] = "auto"
    align: str | float = "auto"
    device: str = "auto"
    process: bool = False
    plot: bool | str = True
    channels: dict[str, Any] = Field(default_factory=dict)


class RulesSettings(_Section):
    """What is done because of predictions.

    Attributes
    ----------
    file : TOML file of rules, relative to this one.
    dry_run : say and record what rules would do, and do nothing.
    """

    file: str
    dry_run: bool = False


class PvSettings(_Section):
    """Predictions as PVs, by a running `xas-live ioc`.

    Attributes
    ----------
    prefix : of its PVs.
    """

    prefix: str


class BeamlineSettings(_Section):
    """All that beamline.toml may have. Every section may be left out.

    Attributes
    ----------
    name : of the beamline, in every run as `beamline_id`.
    metadata : further entries of every run.
    devices : by the name that they have in the session and in documents.
    actuators : which of the devices rules and plans may drive, and within which limits.
    pvs : None publishes none.
    path : of the file; None where there is none.
    """

    name: str = "unnamed"
    metadata: dict[str, Any] = Field(default_factory=dict)
    epics: EpicsSettings = EpicsSettings()
    archive: ArchiveSettings = ArchiveSettings()
    devices: dict[str, DeviceSettings] = Field(default_factory=dict)
    analysis: AnalysisSettings = AnalysisSettings()
    actuators: dict[str, ActuatorSettings] = Field(default_factory=dict)
    rules: RulesSettings | None = None
    pvs: PvSettings | None = None
    path: Path | None = Field(default=None, exclude=True)


def read_settings(path: str | Path) -> tuple[BeamlineSettings, list[str]]:
    """Read a beamline.toml, section by section: one that is wrong does not cost the others.

    Returns
    -------
    The settings, and what is wrong in words, one line an entry. Of `devices` and `actuators` each is read
    alone; a section that is wrong is as if it were left out.

    Raises
    ------
    SettingsFileError : when the file cannot be read, or is no TOML.
    """
    file = Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8")
        given = tomllib.loads(text)
    except OSError as error:
        raise SettingsFileError(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsFileError(f"{file} is no TOML: {error}") from error
    wrong: list[str] = []
    good: dict[str, Any] = {"path": file.absolute()}
    for name, content in given.items():
        if name == "path" or name not in BeamlineSettings.model_fields:
            known = ", ".join(sorted(BeamlineSettings.model_fields.keys() - {"path"}))
            wrong.append(f"{place_in(text, [name])}there is no such entry: the file may have {known}")
        elif name in _SINGLY and isinstance(content, Mapping):
            good[name] = {
                key: value
                for key, entry in content.items()
                if (value := _checked(_SINGLY[name], entry, text, (name, key), wrong)) is not None
            }
        else:
            field: Any = BeamlineSettings.model_fields[name]
            value = _checked(TypeAdapter(field.annotation), content, text, (name,), wrong)
            if value is not None:
                good[name] = value
    return BeamlineSettings.model_construct(**good), wrong


_SINGLY: dict[str, TypeAdapter[Any]] = {
    "devices": TypeAdapter(DeviceSettings),
    "actuators": TypeAdapter(ActuatorSettings),
}


def _checked(
    kind: TypeAdapter[Any], content: Any, text: str, where: tuple[str, ...], wrong: list[str]
) -> Any | None:
    """Return an entry as its kind; or None, with what is wrong added in words."""
    try:
        return kind.validate_python(content)
    except ValidationError as error:
        for problem in error.errors():
            said = problem["msg"].removeprefix("Value error, ")
            wrong.append(f"{place_in(text, [*where, *problem['loc']])}{said[:1].lower()}{said[1:]}")
        return None
