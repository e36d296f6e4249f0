"""Transfer learning: a model goes on learning from a user's labelled spectra, its lower layers frozen.

As Lin et al. ("Machine-Learning Assisted Structure Determination of Metallic Nanoparticles: A Benchmark")
tuned their networks on part of the target spectra. Spectra and targets that are averages over the sites stay
true in mixtures, so the labelled spectra are mixed with one another as they are learned.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch

from xas_live.analysis import Analyzer
from xas_live.errors import Refusal
from xas_live.models.bundle import Bundle
from xas_live.models.card import Accuracy, Card
from xas_live.models.network_spec import NetworkSpec
from xas_live.models.networks import Weights, network
from xas_live.models.outputs import Scalars, columns_of
from xas_live.models.outputs.base import Tensors
from xas_live.models.sections.domain import domain_distances
from xas_live.models.sections.latent import reconstruct
from xas_live.reduction.anchor import AnchorError, FoilAnchor
from xas_live.reduction.target import InputTarget, listed
from xas_live.spectrum import Array, Spectrum
from xas_live.theory.sites import Indices
from xas_live.training import labels
from xas_live.training.calibrate import LEVEL, column_of, enough
from xas_live.training.recipe import Schedule
from xas_live.training.train import Progress, Scaling, fit, one_thread

SCHEDULE = Schedule(steps=400, batch=64, learning_rate=3e-4, seed=20261124)
FROZEN = 2  # lower layers, as in the literature
MIXED = 3  # at most so many labelled spectra in one mixture
NOISE, GAIN = 0.002, 0.003  # drawn anew on every mixture, in units of the edge step
FEWEST_SPECTRA, FEWEST_GROUPS, MOST_FOLDS = 8, 2, 5
RIM = 0.9  # quantile of the labelled spectra's distances that the domain is widened to hold


class LabelledError(Refusal):
    """Labelled spectra that cannot be learned from, with the reason."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Spectra of known structure.

    Attributes
    ----------
    x : (n, g) network inputs, float32.
    y : (n, width) float32, of all outputs side by side; NaN where a label is not known. Of classes it is 1
        for the true one and 0 for the others.
    group : (n,) spectra of one particle share a number.
    about : for the card: file, its sha256, how many spectra and groups.
    """

    x: torch.Tensor
    y: torch.Tensor
    group: Indices
    about: dict[str, object]


def read_labelled(path: Path, bundle: Bundle) -> Labelled:
    """Read labelled spectra from HDF5.

    Measured ones: `energy` (e,) eV and `mu` (n, e); they are reduced as every sweep is. For a model that is
    anchored, the same beamline's foil in `foil/energy` and `foil/mu`; for a model of several absorbers,
    `element` and `edge`, attributes or datasets, that say which the file is of. Or network inputs: `input`
    (n, g) on the model's grid. Beside them `targets/NAME` for every target (n,), every output of classes (n,)
    names and every curve (n, points) of the model; NaN, or an empty name, where a label is not known, with
    its unit in the attribute `unit` where it has one; and, where several spectra are of one particle, `group`
    (n,) whole numbers.

    Raises
    ------
    LabelledError : saying what is missing or wrong.
    """
    try:
        with h5py.File(path) as file:
            y = _targets(file, bundle)
            x = _inputs(file, bundle)
            given = labels.groups(file)
    except OSError as error:
        raise LabelledError(f"{path} cannot be read as HDF5: {error}") from error
    except labels.LabelsError as error:
        raise LabelledError(str(error)) from error
    group = np.arange(len(x)) if given is None else given
    if not len(x) == len(y) == len(group):
        raise LabelledError(f"{len(x)} spectra, {len(y)} labels and {len(group)} group numbers do not match")
    group = np.unique(group, return_inverse=True)[1].astype(np.int64)
    groups = int(group.max()) + 1 if len(group) else 0
    if len(x) < FEWEST_SPECTRA or groups < FEWEST_GROUPS:
        raise LabelledError(
            f"{len(x)} labelled spectra of {groups} particles are too few: at least {FEWEST_SPECTRA} spectra "
            f"of {FEWEST_GROUPS} particles are needed"
        )
    about = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "spectra": len(x),
        "groups": groups,
    }
    return Labelled(torch.from_numpy(x).float(), torch.from_numpy(y).float(), group, about)


def _targets(file: h5py.File, bundle: Bundle) -> Array:
    """(n, width) labels; numbers must lie near the range that the model was trained on."""
    y = labels.labels(file, "targets", bundle.card.outputs, bundle.name)
    for kind, columns in zip(bundle.kinds, columns_of(bundle.kinds), strict=True):
        if not isinstance(kind, Scalars):
            if np.isnan(y[:, columns]).all():
                raise LabelledError(f"targets/{kind.name} holds no label")
            continue
        for target, values in zip(kind.spec.targets, y[:, columns].T, strict=True):
            room = target.maximum - target.minimum
            bad = np.flatnonzero((values < target.minimum - room) | (values > target.maximum + room))
            if len(bad):
                raise LabelledError(
                    f"targets/{target.name}[{bad[0]}] = {values[bad[0]]:g} is far from the model's range of "
                    f"{target.minimum:g} to {target.maximum:g} {target.unit}".rstrip()
                )
            if not np.isfinite(values).any():
                raise LabelledError(f"targets/{target.name} holds no number")
    return y


def _inputs(file: h5py.File, bundle: Bundle) -> Array:
    if "input" in file:
        x = labels.numbers(file, "input", 2)
        if x.shape[1] != len(bundle.grid):
            raise LabelledError(f"input has shape {x.shape}; the model's grid has {len(bundle.grid)} points")
        if not np.isfinite(x).all():
            raise LabelledError(f"input[{np.flatnonzero(~np.isfinite(x).all(1))[0]}] holds NaN or infinity")
        return x
    target = _input_target(file, bundle)
    with_foil = target.theory is not None and (target.anchor == "required" or "foil" in file)
    needed = ["energy", "mu", *(("foil/energy", "foil/mu") if with_foil else ())]
    if missing := [name for name in needed if name not in file]:
        asked = " and ".join((", ".join(needed[:-1]), needed[-1]))
        raise LabelledError(
            f"{missing[0]} is missing: give {asked} as measured, or input on the model's grid"
        )
    energy = labels.numbers(file, "energy", 1)

    def spectrum(energy: Array, mu: Array) -> Spectrum:
        return Spectrum(energy=energy, mu=mu, element=target.element, edge=target.edge)

    anchor = None
    if with_foil:
        foil_energy, foil_mu = (labels.numbers(file, name, 1) for name in ("foil/energy", "foil/mu"))
        try:
            anchor = FoilAnchor.fit(spectrum(foil_energy, foil_mu), bundle)
        except AnchorError as error:
            raise LabelledError(f"foil: {error}") from error
    mu = np.atleast_2d(labels.numbers(file, "mu", 1, 2))
    if mu.shape[1] != len(energy):
        raise LabelledError(f"mu has shape {mu.shape}, energy has {len(energy)} points")
    predictions = Analyzer(bundle, anchor, device="cpu").analyze([spectrum(energy, row) for row in mu])
    for i, p in enumerate(predictions):
        if p.reduced is None:
            raise LabelledError(f"mu[{i}] cannot be used: {p.refused}")
    return np.stack([p.reduced.network_input for p in predictions if p.reduced is not None])


def _input_target(file: h5py.File, bundle: Bundle) -> InputTarget:
    """The input that the measured spectra of a file are reduced to: by its `element` and `edge`."""
    element, edge = (_stated(file, name) for name in ("element", "edge"))
    takes = f"{bundle.name} takes {listed(bundle.absorbers)}"
    if len(bundle.inputs) > 1 and (element is None or edge is None):
        lacking = "element" if element is None else "edge"
        raise LabelledError(f"{lacking} is missing: {takes}; say in the file which of them it is of")
    target = bundle.input_for(element, edge)
    if target is None:
        raise LabelledError(f"the spectra are of {element or 'any element'} {edge or 'at any edge'}; {takes}")
    return target


def _stated(file: h5py.File, name: str) -> str | None:
    """A word that an attribute or a dataset states; None where there is none."""
    stated = file[name] if name in file else file.attrs.get(name)
    if stated is None:
        return None
    found = sorted(set(labels.words(stated)))
    if len(found) != 1:
        raise LabelledError(f"{name} is {', '.join(found)}: the spectra of one file are of one absorber")
    return found[0]


def fine_tune(
    spec: NetworkSpec,
    weights: Weights,
    scaling: Scaling,
    x: torch.Tensor,
    y: torch.Tensor,
    known: list[Indices],
    frozen: int = FROZEN,
    schedule: Schedule = SCHEDULE,
    progress: Progress = lambda step, steps, loss: None,
) -> Weights:
    """Weights after learning from labelled spectra.

    Parameters
    ----------
    spec, weights, scaling : the network as it was trained, all members.
    x, y : (n, g) inputs and (n, targets) labels, NaN where not known.
    known : of each member, the rows that it may learn from.
    frozen : so many of the lower layers stay as they are.

    Raises
    ------
    LabelledError : when that leaves nothing to train.
    """
    layers = [f"conv{i}." for i in range(len(spec.kernels))]
    layers += [f"layer{i}." for i in range(len(spec.hidden) + 1)]
    if not 0 <= frozen < len(layers):
        raise LabelledError(f"{frozen} frozen layers of {len(layers)}: freeze 0 to {len(layers) - 1}")
    kept = tuple(layers[:frozen])
    still = {k: v for k, v in weights.items() if k.startswith(kept)}
    moving = {k: v.clone() for k, v in weights.items() if not k.startswith(kept)}
    rng = np.random.default_rng(schedule.seed)

    def draw(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        picks = np.stack([rng.choice(rows, (n, MIXED)) for rows in known])
        share = rng.exponential(size=picks.shape) * (np.arange(MIXED) < rng.integers(1, MIXED + 1, (n, 1)))
        w = torch.from_numpy(share / share.sum(-1, keepdims=True)).float()[..., None]
        mixed = (w * x[picks]).sum(2)
        gain = 1.0 + GAIN * torch.from_numpy(rng.standard_normal((*mixed.shape[:2], 1), dtype=np.float32))
        noise = NOISE * torch.from_numpy(rng.standard_normal(mixed.shape, dtype=np.float32))
        truth = torch.where(w == 0, 0.0, w * y[picks]).sum(2)  # a spectrum without share has no say
        return mixed * gain + noise, truth

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        return network(spec, still | moving, scaling.inputs(inputs))

    fit(moving, forward, draw, scaling, schedule, progress)
    return still | moving


@one_thread()
def tuned(
    bundle: Bundle,
    labelled: Labelled,
    name: str,
    frozen: int = FROZEN,
    schedule: Schedule = SCHEDULE,
    progress: Progress = lambda step, steps, loss: None,
) -> Bundle:
    """A bundle that went on learning from labelled spectra, not yet stored.

    Each member is trained without one fold of the particles; what its fold's spectra are predicted as gives
    the card's accuracy, and the intervals where there are particles enough for them (9 for 90 %). With fewer,
    the source's intervals stay, widened to the errors found. The domain is widened to hold the labelled
    spectra.

    Raises
    ------
    LabelledError : when the model gives more than numbers, or freezing leaves nothing to train.
    """
    kind = tunable(bundle)
    card, t = bundle.card, bundle.tensors
    scaling = Scaling.of_bundle(bundle)
    groups = int(labelled.group.max()) + 1
    folds = min(groups, MOST_FOLDS, card.network.members)
    fold = np.random.default_rng(schedule.seed).permutation(groups)[labelled.group] % folds
    member_fold = np.arange(card.network.members) % folds
    known = [np.flatnonzero(fold != k) for k in member_fold]
    weights = fine_tune(
        card.network, bundle.network, scaling, labelled.x, labelled.y, known, frozen, schedule, progress
    )
    weights = {k: v.half().float() for k, v in weights.items()}  # as stored
    with torch.inference_mode():
        out = scaling.outputs(network(card.network, weights, scaling.inputs(labelled.x)))
    seen = torch.from_numpy(member_fold[:, None] != fold)[..., None]
    mean = out.masked_fill(seen, 0.0).sum(0) / (~seen).sum(0)
    spread = out.std(0, correction=0)
    error = mean - labelled.y
    first = torch.from_numpy(np.unique(labelled.group, return_index=True)[1])
    stratum = None if kind.strata is None else mean[:, column_of(bundle.kinds, kind.strata)]
    by = None if stratum is None else stratum[first]
    intervals = _intervals(kind, t, mean[first], spread[first], labelled.y[first], by)
    half = kind.estimate({**t, **intervals}, mean, spread, stratum, LEVEL).half
    own_intervals = f"{kind.spec.prefix}calibration_scores" in intervals
    tensors = {
        **{k: v for k, v in bundle.stored.items() if k != "partial_widening"},  # the old network's
        **{k: v.half() for k, v in weights.items()},
        **intervals,
        **_widened_domain(bundle, labelled.x, scaling.disagreement(spread)),
    }
    return Bundle(
        card=_card(bundle, labelled, name, frozen, schedule, error, half, own_intervals, folds),
        tensors=tensors,
        sha256="",
    )


def tunable(bundle: Bundle) -> Scalars:
    """The only output of a model that can be tuned.

    Raises
    ------
    LabelledError : for a model that gives more than numbers.
    """
    [kind] = bundle.kinds if len(bundle.kinds) == 1 else [None]
    if not isinstance(kind, Scalars):
        raise LabelledError(f"{bundle.name} gives more than numbers: models of numbers alone are tuned")
    return kind


def _widened_domain(bundle: Bundle, x: torch.Tensor, disagreement: torch.Tensor) -> dict[str, torch.Tensor]:
    """The domain's reference, moved out as far as the labelled spectra lie; nothing without a domain."""
    if bundle.card.sections.domain is None:
        return {}
    t, names = bundle.tensors, bundle.card.sections.distances
    reconstruction = None if bundle.card.sections.latent is None else reconstruct(t, x)[1]
    distances = domain_distances(t, x, reconstruction, disagreement, names)
    reference = t["domain_reference"]
    rim = torch.quantile(reference.flatten(0, 1), RIM, dim=0)
    wider = (torch.quantile(distances, RIM, dim=0) - rim).clamp_min(0.0)
    return {"domain_reference": reference + wider}


def _intervals(
    kind: Scalars,
    tensors: Tensors,
    mean: torch.Tensor,
    spread: torch.Tensor,
    truth: torch.Tensor,
    stratum: torch.Tensor | None,
) -> Tensors:
    """Interval tensors that replace the source's; one row a particle."""
    if enough(int(torch.isfinite(truth).all(1).sum())):
        return kind.calibrate(mean, spread, truth, stratum, bins=1)
    found = 1.4826 * (mean - truth).abs().nanmedian(0).values
    name = f"{kind.spec.prefix}scale_floor"
    return {name: torch.fmax(tensors[name], found)}


def _card(
    bundle: Bundle,
    labelled: Labelled,
    name: str,
    frozen: int,
    schedule: Schedule,
    error: torch.Tensor,
    half: torch.Tensor,
    own_intervals: bool,
    folds: int,
) -> Card:
    card = bundle.card
    names = bundle.target_names

    def by_name(values: torch.Tensor) -> dict[str, float]:
        return dict(zip(names, [float(f"{v:.3g}") for v in values.tolist()], strict=True))

    known = torch.isfinite(error)
    hit = ((error.abs() <= half) & known).sum(0) / known.sum(0)
    calibration = {
        "method": "split conformal, normalised by ensemble spread",
        "set": "labelled spectra, each predicted by the members that never saw its particle",
        "particles": labelled.about["groups"],
        "calibrated_on": "labelled spectra",
    }
    kept = "intervals are the source's, widened to the errors found: too few particles for others"
    return card.model_copy(
        update={
            "name": name,
            "sections": card.sections.model_copy(update={"preview": None}),  # it was the old network's
            "summary": f"{card.summary}, tuned on {labelled.about['spectra']} labelled spectra",
            "training": {
                **card.training,
                "from": {"name": bundle.name, "sha256": bundle.sha256},
                "labelled": labelled.about,
                "frozen_layers": frozen,
                "tuning_schedule": schedule.model_dump(),
            },
            "trust": None,  # its figures were the old network's, as the preview is
            "calibration": calibration if own_intervals else {**card.calibration, "tuned": kept},
            "accuracy": Accuracy(
                mae=by_name(error.abs().nanmean(0)),
                bias=by_name(error.nanmean(0)),
                coverage=by_name(hit),
                coverage_by_size={},
                half_width=by_name(half.mean(0)),
                level=LEVEL,
                particles=int(labelled.group.max()) + 1,
                folds=folds,
                conditions="the labelled spectra as they are, each predicted by members that never saw its "
                "particle; the interval's own scores are among them",
            ),
            "limits": (
                *card.limits,
                "Tuned on labelled spectra: it is as right as their labels, and for particles like theirs.",
            ),
        }
    )


def tune_bundle(
    source: Bundle,
    path: Path,
    folder: Path,
    frozen: int = FROZEN,
    schedule: Schedule = SCHEDULE,
    progress: Progress = lambda step, steps, loss: None,
) -> Bundle:
    """Read labelled spectra, tune, and write the bundle in `folder`, named after it.

    Raises
    ------
    LabelledError : when the model gives more than numbers, the spectra cannot be learned from, or freezing
        leaves nothing to train.
    """
    tunable(source)
    labelled = read_labelled(path, source)
    return tuned(source, labelled, folder.name, frozen, schedule, progress).save(folder)
