"""Sections of a card: what a model may carry beside its networks. Each is validated only where it is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from xas_live.models.network_spec import NetworkSpec
from xas_live.models.networks import weight_shapes
from xas_live.models.sections.preview import LAST_ENERGIES
from xas_live.models.strict import Strict

ENCODER = NetworkSpec(hidden=(128, 64, 32), members=1)
DECODER = NetworkSpec(hidden=(32, 64, 128), members=1)
LATENT = 8
"""Coordinates of the autoencoder."""
OXIDE_NETWORK = NetworkSpec(hidden=(256, 128), members=1)
RESIDUALS = 9
"""Measures of what training cannot explain: by three regions, and along three shapes in either sign."""
CHEMISTRY_NETWORK = NetworkSpec(hidden=(256, 128), members=5)

Distance = Literal["subspace", "residual", "disagreement", "oxide"]
"""By which the domain may be judged: see `models.sections.domain`."""

Shapes = dict[str, tuple[int, ...] | None]
"""Tensors by name, with their shapes; None where the shape is free."""


def theory_suffix(index: int) -> str:
    """What is added to the names of an input's theory: nothing for the first, ".1" for the second."""
    return f".{index}" if index else ""


class TheorySection(Strict):
    """The calculated spectrum of the bulk, which a measured foil is laid on.

    Tensors `theory_energy` and `theory_bulk`, with a suffix for every absorber but the first, and `bulk_r1`.

    Attributes
    ----------
    missing_from : target that tells how many neighbours are missing: what theory gets wrong for the foil
        returns with their share, 1 - target / `full`. None: it is taken to cancel.
    full : of that target, in the bulk.
    background : whether the bulk's absorption without fine structure is there, by which the damping of a
        measured foil is found. Tensor `theory_background`, with the same suffixes.
    """

    missing_from: str | None = None
    full: float = 12.0
    background: bool = False

    def tensors(self, points: int, inputs: int, width: int) -> Shapes:
        """Of a model of so many inputs, each of so many points, and so many columns of output."""
        names = [
            f"{name}{theory_suffix(i)}"
            for i in range(inputs)
            for name in ("theory_energy", "theory_bulk", *(["theory_background"] * self.background))
        ]
        return dict.fromkeys(names) | {"bulk_r1": (1,)}


class DomainSection(Strict):
    """Whether a spectrum belongs to the training's. Tensors `domain_*`, `train_mean`, `train_covariance`.

    Attributes
    ----------
    threshold : p-value under which it is out of domain.
    stratify_by : target by whose predicted value distances are ranked; None: all together.
    """

    threshold: Annotated[float, Field(gt=0, lt=1)]
    stratify_by: str | None = None

    def tensors(self, points: int, inputs: int, width: int) -> Shapes:
        """As for `TheorySection`."""
        names = ("mean", "components", "variances", "reference", "joint", "edges")
        fixed: Shapes = {"train_mean": (points,), "train_covariance": (points, points)}
        return dict.fromkeys(f"domain_{name}" for name in names) | fixed


class OxideSection(Strict):
    """A network that sees a share of oxide. Tensors `oxide.*`."""

    def tensors(self, points: int, inputs: int, width: int) -> Shapes:
        """As for `TheorySection`."""
        return {f"oxide.{name}": shape for name, shape in weight_shapes(OXIDE_NETWORK, points, 1).items()}


class ChemistrySection(Strict):
    """Networks that see what else than bare metal a spectrum shows. Tensors `chemistry.*`, `chemistry_*`.

    Attributes
    ----------
    kinds : of phase, "metal" first, of which the shares are given; `non_metal` : those without metal bonds.
    adsorbates : whether spectra of covered surfaces were calculated for this metal.
    stratify_by : target by whose prediction false alarms are ranked.
    folds : compounds of each fold, which the member of that fold has not seen.
    """

    kinds: Annotated[tuple[str, ...], Field(min_length=2)]
    non_metal: Annotated[tuple[str, ...], Field(min_length=1)]
    adsorbates: bool
    stratify_by: str
    folds: tuple[tuple[str, ...], ...]

    def tensors(self, points: int, inputs: int, width: int) -> Shapes:
        """As for `TheorySection`."""
        shapes = weight_shapes(CHEMISTRY_NETWORK, points, len(self.kinds) + 1)
        found: Shapes = {f"chemistry.{name}": shape for name, shape in shapes.items()}
        quantities = ("non_metal_oxide", "non_metal_other", "adsorbates_other")
        parts = ("calibration_scores", "calibration_edges", "scale_floor")
        found |= dict.fromkeys(f"chemistry_{name}_{part}" for name in quantities for part in parts)
        return found | dict.fromkeys(("chemistry_none", "chemistry_none_edges"))


class CostSection(Strict):
    """What departures from the training spectra cost. Tensors `cost_*`.

    Attributes
    ----------
    leading, column : target whose interval decides the verdict, and its place among the targets.
    trusted : widening of its interval, before calibration, up to which a spectrum is no departure.
    limit : half width of its interval beyond which a prediction is not usable.
    kinds : of departure that were drawn.
    """

    leading: str
    column: Annotated[int, Field(ge=0)]
    trusted: Annotated[float, Field(ge=1)]
    limit: Annotated[float, Field(gt=0)]
    kinds: tuple[str, ...]

    def tensors(self, points: int, inputs: int, width: int) -> Shapes:
        """As for `TheorySection`."""
        found: Shapes = dict.fromkeys(("cost_rim", "cost_in", "cost_in_bias", "cost_out"))
        return found | {"cost_out_bias": (width,), "cost_factors": (2, width)}


class Acceptance(Strict):
    """Spectra of good samples that a user vouched for.

    Attributes
    ----------
    files : sha256 by name of the file; of what is in no file, of its energies and absorption.
    spectra : how many there are in them.
    left_out : names of those of them that did not depart as the others do: nothing was learned from them.
    anchor : sha256 of their foil, or "reference".
    model, sha256 : name and hash of the model that they were accepted into.
    """

    files: dict[str, str]
    spectra: Annotated[int, Field(ge=1)]
    left_out: tuple[str, ...] = ()
    anchor: str
    model: str
    sha256: str


class AcceptedSection(Strict):
    """Departures that a user vouches for. Tensors `accepted_*`.

    Attributes
    ----------
    axes : directions in which accepted spectra depart.
    samples : that they were learned from, one entry each time.
    """

    axes: Annotated[int, Field(ge=1)]
    samples: Annotated[tuple[Acceptance, ...], Field(min_length=1)]

    def tensors(self, points: int, inputs: int, width: int) -> Shapes:
        """As for `TheorySection`."""
        return {
            "accepted_axes": (self.axes, points),
            "accepted_low": (self.axes,),
            "accepted_high": (self.axes,),
            "accepted_left": None,
        }


class LatentSection(Strict):
    """An autoencoder of the training spectra. Tensors `encoder.*`, `decoder.*`, `latent_*`.

    Attributes
    ----------
    shown_by : target by which its map is shaded.
    """

    shown_by: str | None = None

    def tensors(self, points: int, inputs: int, width: int) -> Shapes:
        """As for `TheorySection`."""
        encoder, decoder = weight_shapes(ENCODER, points, LATENT), weight_shapes(DECODER, LATENT, points)
        found: Shapes = {f"encoder.{name}": shape for name, shape in encoder.items()}
        found |= {f"decoder.{name}": shape for name, shape in decoder.items()}
        return found | dict.fromkeys(("latent_cloud", "latent_target"))


class PhasesSection(Strict):
    """Training spectra as Gaussians, by which shares of other phases are fitted. Tensors `metal_*`.

    Attributes
    ----------
    leading : target whose correlation with the metal's share tells whether the two can be told apart.
    sample : name under which `leading` times the metal's share is given; None: it is not.
    """

    leading: str
    sample: str | None = None

    def tensors(self, points: int, inputs: int, width: int) -> Shapes:
        """As for `TheorySection`."""
        return dict.fromkeys(("metal_mean", "metal_factor", "metal_rest"))


class PreviewSection(Strict):
    """Intervals of growing sweeps. Tensor `partial_widening`."""

    def tensors(self, points: int, inputs: int, width: int) -> Shapes:
        """As for `TheorySection`."""
        return {"partial_widening": (2, len(LAST_ENERGIES), width)}


class ChangeSection(Strict):
    """How far the model is off in a change between two sweeps of one sample. Tensor `change_scores`."""

    def tensors(self, points: int, inputs: int, width: int) -> Shapes:
        """As for `TheorySection`."""
        return dict.fromkeys(("change_scores",))


class SizeSection(Strict):
    """Particle size from coordination numbers. Tensors `particle_cn` and `particle_atoms`.

    Attributes
    ----------
    shells : targets that are coordination numbers, first shell first.
    """

    shells: Annotated[tuple[str, ...], Field(min_length=1)]

    def tensors(self, points: int, inputs: int, width: int) -> Shapes:
        """As for `TheorySection`."""
        return dict.fromkeys(("particle_cn", "particle_atoms"))


class EdgeRiseSection(Strict):
    """How far a half-risen edge may lie above the foil's. Tensor `edge_rise_limit` (eV)."""

    def tensors(self, points: int, inputs: int, width: int) -> Shapes:
        """As for `TheorySection`."""
        return {"edge_rise_limit": (1,)}


_NEEDS = {
    "preview": ("theory", "domain"),
    "size": ("theory",),
    "phases": ("theory",),
    "edge_rise": ("theory",),
    "oxide": ("domain",),
    "chemistry": ("theory", "domain"),
    "cost": ("theory", "domain"),
    "accepted": ("domain", "cost"),
    "change": ("latent",),
}
"""What a section cannot do without."""


class Sections(Strict):
    """All sections, each optional."""

    theory: TheorySection | None = None
    domain: DomainSection | None = None
    oxide: OxideSection | None = None
    chemistry: ChemistrySection | None = None
    cost: CostSection | None = None
    accepted: AcceptedSection | None = None
    latent: LatentSection | None = None
    phases: PhasesSection | None = None
    preview: PreviewSection | None = None
    change: ChangeSection | None = None
    size: SizeSection | None = None
    edge_rise: EdgeRiseSection | None = None

    @model_validator(mode="after")
    def _have_what_they_need(self) -> Sections:
        for name, needs in _NEEDS.items():
            lacking = [f"sections.{need}" for need in needs if getattr(self, need) is None]
            if getattr(self, name) is not None and lacking:
                raise ValueError(f"sections.{name} needs {' and '.join(lacking)}")
        return self

    @property
    def respects(self) -> int:
        """In how many ways a spectrum's departure is measured; see `models.sections.cost.departures`."""
        phases = 0 if self.chemistry is None else len(self.chemistry.kinds)
        return len(self.distances) + RESIDUALS + phases

    @property
    def distances(self) -> tuple[Distance, ...]:
        """By which the domain is judged."""
        names: list[Distance] = ["subspace"]
        names += ["residual"] if self.latent is not None else []
        names += ["disagreement"]
        names += ["oxide"] if self.oxide is not None else []
        return tuple(names)

    def tensors(self, points: int, inputs: int, width: int) -> Shapes:
        """Of all sections that are there."""
        found: Shapes = {}
        for section in (
            self.theory, self.domain, self.oxide, self.chemistry, self.cost, self.accepted,
            self.latent, self.phases, self.preview, self.change, self.size, self.edge_rise,
        ):  # fmt: skip
            if section is not None:
                found |= section.tensors(points, inputs, width)
        if self.cost is not None:  # it was learned from just these
            found["cost_rim"] = (self.respects,)
        return found

    def named_targets(self) -> list[tuple[str, str | None]]:
        """Targets that sections refer to, with the place where they do."""
        found: list[tuple[str, str | None]] = []
        if self.theory is not None:
            found.append(("theory.missing_from", self.theory.missing_from))
        if self.domain is not None:
            found.append(("domain.stratify_by", self.domain.stratify_by))
        if self.chemistry is not None:
            found.append(("chemistry.stratify_by", self.chemistry.stratify_by))
        if self.cost is not None:
            found.append(("cost.leading", self.cost.leading))
        if self.latent is not None:
            found.append(("latent.shown_by", self.latent.shown_by))
        if self.phases is not None:
            found.append(("phases.leading", self.phases.leading))
        if self.size is not None:
            found += [(f"size.shells[{i}]", name) for i, name in enumerate(self.size.shells)]
        return found
