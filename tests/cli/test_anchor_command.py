"""`xas-live anchor`: what is no foil is refused; saved anchors are listed, shown, chosen and removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from parts import write
from typer.testing import Result

from xas_live.simulator import Sample, growth

Run = Callable[..., Result]


def test_a_particle_is_refused_unless_the_user_vouches_for_it(run: Run, home: Path, tmp_path: Path) -> None:
    cluster = write(tmp_path / "cluster.dat", growth(4)[0], "# energy i0 it ir")
    result = run("anchor", cluster)
    assert result.exit_code == 2
    words = " ".join(result.output.split())
    assert "looks like a particle" in words
    assert "by its own reference channel CN1 is 5." in words
    assert not list(home.glob("anchors/*"))
    assert run("replay", cluster, "--anchor", cluster).exit_code == 2
    result = run("anchor", "--vouch", cluster)
    assert result.exit_code == 0, result.output
    assert "vouched for" in result.output


def test_anchors_are_listed_shown_chosen_and_removed(
    run: Run, foil_file: Path, mu_file: Path, home: Path, tmp_path: Path
) -> None:
    assert "No anchor is saved" in run("anchor", "list").output
    assert run("anchor", foil_file).exit_code == 0
    gold = write(tmp_path / "gold.dat", None, "# energy mu", metal="au_l3")
    gold.write_text("# Beamline.name: 13-ID-C\n" + gold.read_text())
    assert run("anchor", gold).exit_code == 0
    names = sorted(path.name for path in (home / "anchors").iterdir())
    assert [name[:6] for name in names] == ["Au-L3-", "Pt-L3-"]

    listed = run("anchor", "list").output
    assert "13-ID-C" in listed
    assert listed.count("*") == 2  # one in use for each absorber
    assert max(map(len, listed.splitlines())) <= 80
    shown = run("anchor", "show", "Au-L3").output
    assert "gold" in shown
    assert "of theory" in shown
    assert run("anchor", "use", "Pt").exit_code == 0
    assert "Anchored by" in run("replay", mu_file, "--anchor", names[1]).output
    assert run("anchor", "show", "nothing").exit_code == 2
    assert run("anchor", "show", "").exit_code == 2
    assert run("anchor", "remove", names[0]).exit_code == 0
    assert [path.name for path in (home / "anchors").iterdir()] == [names[1]]


def test_a_larger_particle_is_refused_by_the_foil_that_was_saved_before(
    run: Run, foil_file: Path, tmp_path: Path
) -> None:
    particle = write(tmp_path / "particle.dat", Sample({"cuboctahedron_9_4": 1.0}), "# energy mu")
    assert run("anchor", foil_file).exit_code == 0
    result = run("anchor", particle)
    assert result.exit_code == 2
    assert "by the saved foil" in " ".join(result.output.split())
