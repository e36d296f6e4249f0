"""`xas-live doctor`: what it finds of a good installation, and of settings that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from xas_live.beamline import BeamlineSession, read_settings
from xas_live.beamline import checks as module
from xas_live.beamline.checks import Check, State, checks
from xas_live.beamline.settings import SettingsFileError

Run = Callable[..., Result]


def test_an_installation_is_looked_at_and_nothing_is_broken(run: Run) -> None:
    done = run("doctor")
    assert done.exit_code == 0, done.output
    for words in ("all within bounds", "are as shipped", "is predicted as", "pyepics"):
        assert words in " ".join(done.output.split())
    assert "broken" not in done.output


def test_settings_that_are_wrong_are_named_and_end_with_1(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "beamline.toml"
    file.write_text(
        'name = "mine"\ncolour = 1\n[archive]\nplace = "/proc/nothing"\n'
        '[devices.energy]\nkind = "motor"\n[devices.i0]\nkind = "signal"\npv = "NOT:THERE"\n'
        "[epics]\ntimeout = 0.3\n"
    )
    done = run("doctor", file)
    said = " ".join(done.output.split())
    assert done.exit_code == 1
    for words in (
        "line 2, colour = 1: there is no such entry: the file may have actuators, analysis",
        "devices.energy",
        "i0: no answer from NOT:THERE within 0.3 s",
        "/proc/nothing cannot be written: No such file or directory. Name another",
    ):
        assert words in said, said


def test_of_several_devices_one_that_is_wrong_does_not_cost_the_others(tmp_path: Path) -> None:
    file = tmp_path / "beamline.toml"
    file.write_text(
        '[devices.energy]\nkind = "motor"\npv = ""\n[devices.ring]\nkind = "signal"\npv = "RING"\n'
        '[analysis]\nmodels = "pt-l3"\n[archive]\nplace = "~/somewhere"\n'
    )
    settings, wrong = read_settings(file)
    assert list(settings.devices) == ["ring"]
    assert settings.archive.place == "~/somewhere"
    assert settings.analysis.models == ()
    assert [line.split(":")[0] for line in wrong] == [
        "line 3, devices.energy.pv = ''",
        "line 8, analysis.models = 'pt-l3'",
    ]


@pytest.mark.parametrize(("content", "word"), [(None, "cannot be read"), ("a = [", "is no TOML")])
def test_a_file_that_cannot_be_read_is_refused(
    run: Run, tmp_path: Path, content: str | None, word: str
) -> None:
    file = tmp_path / "beamline.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsFileError, match=word):
        read_settings(file)
    done = run("doctor", file)
    assert done.exit_code == 2
    assert word in " ".join(done.output.split())


def test_a_check_that_fails_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def _models() -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(module, "_models", _models)
    found = {check.what: check for check in checks()}
    assert found["models"] == Check("models", State.BROKEN, "OSError: the disk is gone")
    assert found["prediction"].state is State.OK


def test_variables_of_epics_that_come_too_late_are_named(tmp_path: Path) -> None:
    import epics  # noqa: F401

    file = tmp_path / "beamline.toml"
    file.write_text("[epics]\nport = 5999\n")
    said: list[str] = []
    session = BeamlineSession(read_settings(file)[0], said.append)
    session.set_environment()
    assert said == session.missing == [
        "[epics]: pyepics is loaded already, so EPICS_CA_SERVER_PORT stay as they were"
    ]  # fmt: skip
