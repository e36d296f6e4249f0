"""The cards as a page: `xas-live models document` writes docs/reference/models.md with it."""

from __future__ import annotations

from collections.abc import Iterable

from xas_live.models.bundle import Bundle
from xas_live.models.card import NetworkSpec

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
    card = bundle.card
    absorbers = ", ".join(f"{a.element} {a.edge} ({a.energy:g} eV)" for a in card.absorbers)
    points = card.input.points
    pre1, pre2, norm1, norm2 = card.input.windows
    names = card.training["left_out_particles"]
    left_out = f"; left out: {', '.join(names)}" if names else ""
    lines = [
        f"## {card.name}",
        "",
        f"{card.summary}. Version {card.version}, {card.licence}, sha256 `{bundle.sha256[:16]}`.",
        "",
        f"- Absorber: {absorbers}",
        f"- Input: {card.input.kind}, {len(points)} points from {points[0]:g} to {points[-1]:g} eV "
        f"({card.input.origin}); windows pre1 {pre1:g}, pre2 {pre2:g}, norm1 {norm1:g}, norm2 {norm2:g} eV; "
        f"{'needs' if card.input.needs_anchor else 'needs no'} anchor",
        f"- Network: {card.network.members} members, {_layers(card.network)}, "
        f"{card.network.activation} ({card.network.source})",
        f"- Training: {card.training['data']}; folds ({card.training['folds']}){left_out}",
        f"- Intervals: {card.calibration['method']}, {card.calibration['particles']} structures "
        f"({card.calibration['set']}); calibrated on {card.calibration['calibrated_on']}",
        f"- Out of domain: p-value under {card.domain_threshold:g}",
        *(f"- {limit}" for limit in card.limits),
        "",
    ]
    if card.accuracy is not None:
        a = card.accuracy
        lines += [
            f"Measured on {a.particles} {a.counted}, {a.folds} folds; {a.conditions}.",
            "",
            "| target | range | mean absolute error | bias | half width of the interval |",
            "|---|---|---|---|---|",
            *(
                f"| {t.name}, {t.description} | {t.minimum:g} to {t.maximum:g} {t.unit} | "
                f"{a.mae[t.name]:.3g} | {a.bias[t.name]:+.2g} | {a.half_width[t.name]:.2g} |"
                for t in card.targets
            ),
            "",
            f"Coverage of {a.level:.0%} intervals, each calibrated only on the {a.counted} of the other folds",
            "(for particles these intervals are wider than the shipped ones):",
            "",
            f"| {a.counted} | {' | '.join(t.name for t in card.targets)} |",
            f"|---|{'---|' * len(card.targets)}",
            *(
                f"| {size} | {' | '.join(f'{of[t.name]:.0%}' for t in card.targets)} |"
                for size, of in {**a.coverage_by_size, "all": a.coverage}.items()
            ),
            "",
        ]
    if card.trust is not None:
        t = card.trust
        oxide = ", ".join(f"{share:.0%} of it {seen:.0%}" for share, seen in _shares(t.oxide_flagged))
        told = ", ".join(f"{what} {area:.3f}" for what, area in t.told_apart.items())
        lines += [
            f"Trust, as benchmarks/trust.py measured it: {t.coverage:.1%} of 90 % intervals cover (new",
            f"environments, {t.particles} particles); false alarms {t.false_alarms:.1%}; oxide flagged:",
            f"{oxide}; told apart (area under the curve): {told}; flagged under mild perturbation "
            f"{t.half_perturbed_flagged:.0%}.",
            "",
        ]
    return "\n".join(lines)


def _shares(flagged: dict[str, float]) -> list[tuple[float, float]]:
    return [(float(share), seen) for share, seen in flagged.items()]
