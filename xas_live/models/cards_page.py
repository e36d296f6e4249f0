"""The cards as a page: `xas-live models document` writes docs/reference/models.md with it."""

from __future__ import annotations

from collections.abc import Iterable

from xas_live.models.bundle import Bundle
from xas_live.models.card import Accuracy, Card, InputSpec, Trust
from xas_live.models.network_spec import NetworkSpec
from xas_live.models.outputs.specs import ClassesSpec, OutputSpec, ScalarsSpec

_HEAD = """# Models

Written by `xas-live models document` from the cards of the shipped models; do not edit.

The script that built a model measured its figures, on the weights that ship. Models of particles are tested
on whole particles, each predicted only by the ensemble members that were trained without its site
environments (the bulk's excepted); models of displaced bulk on radial distributions that no member was
trained on. To use several models at once, see
[use several models](../how-to/use-several-models.md).
"""


def document(bundles: Iterable[Bundle]) -> str:
    """Return the page, in Markdown."""
    return "\n".join([_HEAD, *(_section(bundle) for bundle in bundles)])


def _layers(network: NetworkSpec) -> str:
    kernels = f"{' and '.join(map(str, network.kernels))} kernels of width {network.kernel_width}, "
    return f"{kernels if network.kernels else ''}layers {'-'.join(map(str, network.hidden))}"


def _section(bundle: Bundle) -> str:
    """Return the section of one model."""
    card = bundle.card
    left_out = card.training.get("left_out_particles", ())
    without = f"; left out: {', '.join(left_out)}" if left_out else ""
    domain = card.sections.domain
    lines = [
        f"## {card.name}",
        "",
        f"{card.summary}. Version {card.version}, {card.licence}, sha256 `{bundle.sha256[:16]}`.",
        "",
        *(_input(each) for each in card.inputs),
        *(_output(each) for each in card.outputs),
        f"- Sections: {', '.join(name for name, each in card.sections if each is not None) or 'none'}",
        f"- Network: {card.network.members} members, {_layers(card.network)}, "
        f"{card.network.activation} ({card.network.source})",
        f"- Training: {card.training['data']}; folds ({card.training['folds']}){without}",
        f"- Calibration: {card.calibration['method']}, {card.calibration['particles']} structures "
        f"({card.calibration['set']}); calibrated on {card.calibration['calibrated_on']}",
        *([] if domain is None else [f"- Out of domain: p-value under {domain.threshold:g}"]),
        *(f"- {limit}" for limit in card.limits),
        "",
    ]
    if card.accuracy is not None:
        lines += _accuracy(card, card.accuracy)
    if card.trust is not None:
        lines += _trust(card.trust)
    return "\n".join(lines)


def _input(spec: InputSpec) -> str:
    a, points = spec.absorber, spec.points
    pre1, pre2, norm1, norm2 = spec.windows
    anchor = {
        "required": "needs an anchor",
        "optional": "anchored where a foil is given",
        "none": "not anchored",
    }
    return (
        f"- Input: {a.element} {a.edge} ({a.energy:g} eV), {spec.kind}, {len(points)} points from "
        f"{points[0]:g} to {points[-1]:g} {spec.unit} ({spec.origin}); windows pre1 {pre1:g}, pre2 {pre2:g}, "
        f"norm1 {norm1:g}, norm2 {norm2:g} eV; {anchor[spec.anchor]}"
    )


def _output(spec: OutputSpec) -> str:
    if isinstance(spec, ScalarsSpec):
        what = ", ".join(target.name for target in spec.targets)
        return f"- Output `{spec.name}`, scalars: {what}"
    if isinstance(spec, ClassesSpec):
        return f"- Output `{spec.name}`, one of the classes: {', '.join(spec.classes)}"
    ends = f"{spec.x[0]:g} to {spec.x[-1]:g} {spec.x_unit}".rstrip()
    return f"- Output `{spec.name}`, curve: {len(spec.x)} points, {spec.x_name} from {ends}"


def _accuracy(card: Card, a: Accuracy) -> list[str]:
    targets = {target.name: target for target in card.targets}
    described = {
        name: (f"{t.name}, {t.description}", f"{t.minimum:g} to {t.maximum:g} {t.unit}")
        for name, t in targets.items()
    }
    shown = [name for name in a.mae if name in targets or name in a.coverage]
    return [
        f"Measured on {a.particles} {a.counted}, {a.folds} folds; {a.conditions}.",
        "",
        "| target | range | mean absolute error | bias | half width of the interval |",
        "|---|---|---|---|---|",
        *(
            f"| {' | '.join(described.get(name, (name, '')))} | "
            f"{a.mae[name]:.3g} | {a.bias[name]:+.2g} | {a.half_width[name]:.2g} |"
            for name in shown
        ),
        "",
        f"Coverage of {a.level:.0%} intervals, each calibrated only on the {a.counted} of the other folds",
        "(for particles these intervals are wider than the shipped ones):",
        "",
        f"| {a.counted} | {' | '.join(shown)} |",
        f"|---|{'---|' * len(shown)}",
        *(
            f"| {size} | {' | '.join(f'{of[name]:.0%}' for name in shown)} |"
            for size, of in {**a.coverage_by_size, "all": a.coverage}.items()
        ),
        "",
    ]


def _trust(t: Trust) -> list[str]:
    oxide = ", ".join(f"{share:.0%} of it {seen:.0%}" for share, seen in _shares(t.oxide_flagged))
    told = ", ".join(f"{what} {area:.3f}" for what, area in t.told_apart.items())
    return [
        f"Trust, measured by benchmarks/trust.py: {t.coverage:.1%} of 90 % intervals cover (new",
        f"environments, {t.particles} particles); false alarms {t.false_alarms:.1%}; oxide flagged:",
        f"{oxide}; told apart (area under the curve): {told}; flagged under mild perturbation "
        f"{t.half_perturbed_flagged:.0%}.",
        "",
    ]


def _shares(flagged: dict[str, float]) -> list[tuple[float, float]]:
    return [(float(share), seen) for share, seen in flagged.items()]
