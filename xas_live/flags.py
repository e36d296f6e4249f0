"""Flags: what a user should know about a prediction before believing it.

The page of flags in docs/ is written from here.
"""

from __future__ import annotations

from enum import Enum, StrEnum


class Severity(Enum):
    """How much a flag weighs."""

    REMARK = "remark"
    """Worth knowing; the numbers are as good as without it."""
    CAUTION = "caution"
    """The numbers may be off; the remedy says what to look at."""
    STOP = "do not use"
    """The numbers, or those named, must not be used."""


class Flag(StrEnum):
    """Every flag that a prediction may carry, with its severity, meaning and remedy.

    A member is its name, so flags read the same in code, tables, JSON and archives. `BEYOND_TRAINING` is
    raised for one target: see `of`.
    """

    severity: Severity
    meaning: str
    remedy: str

    def __new__(cls, name: str, severity: Severity, meaning: str, remedy: str) -> Flag:
        """Make a member that is its name."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.severity, member.meaning, member.remedy = severity, meaning, remedy
        return member

    def of(self, target: str) -> str:
        """The flag as it is raised for one target: "CN1_beyond_training"."""
        return f"{target}_{self}"

    @classmethod
    def parse(cls, text: str) -> Flag:
        """The flag that a prediction carries as `text`.

        Raises
        ------
        ValueError : when it is none.
        """
        if text.endswith(f"_{cls.BEYOND_TRAINING}"):
            return cls.BEYOND_TRAINING
        return cls(text)

    OUT_OF_DOMAIN = (
        "out_of_domain",
        Severity.STOP,
        "The spectrum is unlike anything the model was trained on: another phase, another "
        "structure, a glitch, self-absorption, or members of the ensemble that contradict each "
        "other. The verdict says in words which: a white line higher than any particle's, an edge "
        "that lies elsewhere, a weaker fine structure, a single point, a share of oxide.",
        "Do not use the numbers. Look at the spectrum over the foil; think of oxide, precursor, "
        "alloy, a wrong channel.",
    )
    EDGE_ABOVE_FOIL = (
        "edge_above_foil",
        Severity.CAUTION,
        "The half-risen edge lies further above the foil's than that of 99 % of the model's bare "
        "metal particles (the limit, in eV, is the model's `edge_rise_limit`).",
        "Suspect oxidation, alloying, adsorbates, or an energy scale that moved between foil and "
        "sample. The coordination numbers of a metal do not apply to it.",
    )
    BEYOND_TRAINING = (
        "beyond_training",
        Severity.STOP,
        "The whole interval lies outside the values that training knew.",
        "Do not use that number.",
    )
    UNANCHORED = (
        "unanchored",
        Severity.CAUTION,
        "No foil ties theory to this beamline; the model's own errors are read as structure.",
        "Measure a foil: put one in the reference channel, or save one with `xas-live anchor FILE "
        "--model NAME`.",
    )
    NO_REFERENCE = (
        "no_reference",
        Severity.CAUTION,
        "A reference channel was asked for and the sweep has none.",
        "Name its field (`ChannelMapping(ir=...)`, `--columns ir=N`), or give a foil as anchor.",
    )
    BAD_REFERENCE = (
        "bad_reference",
        Severity.CAUTION,
        "The reference channel is unusable, or not this metal's foil; the sample was analysed without it.",
        "Look at the reference: foil in the beam, gain, saturation.",
    )
    ALIGNED_BY_E0 = (
        "aligned_by_e0",
        Severity.CAUTION,
        "The energy scale was laid on the foil's by the sample's own edge, on request.",
        "Its own edge shift, which is signal, is gone. Prefer a reference channel.",
    )
    E0_DIFFERS_FROM_FOIL = (
        "e0_differs_from_foil",
        Severity.CAUTION,
        "Not aligned by a reference, and the sample's e0 lies over 1 eV from the foil's.",
        "Calibrate, or align by the reference channel, or give the shift (`--align 1.5`).",
    )
    TEMPERATURE_UNKNOWN = (
        "temperature_unknown",
        Severity.REMARK,
        "The temperature of the sample or of the foil is not recorded.",
        "Put `temperature` (K) into the metadata. A hot sample against a cold foil looks smaller.",
    )
    TEMPERATURE_DIFFERS = (
        "temperature_differs",
        Severity.CAUTION,
        "Sample and foil differ by over 100 K.",
        "Expect CN1 too low, by about 1 for 0.006 Å² of excess disorder. Anchor with a foil at the "
        "sample's temperature.",
    )
    RESOLUTION_DIFFERS = (
        "resolution_differs",
        Severity.CAUTION,
        "The sweep's reference channel is broader or sharper than the anchor's foil by over 0.8 eV "
        "(Gaussian width).",
        "The beamline is not as it was: fit the foil anew, with today's slits and crystal.",
    )
    ANCHOR_OLD = (
        "anchor_old",
        Severity.CAUTION,
        "Foil and sample were measured over seven days apart.",
        "Measure the foil again, and fit it: `xas-live anchor FILE`.",
    )
    I0_NONLINEAR = (
        "i0_nonlinear",
        Severity.CAUTION,
        "mu follows the jumps of i0: the detectors do not count alike, or a dark offset is missing.",
        "Check dark offsets, gains and saturation; look for harmonics.",
    )
    STANDARDS_NEED_AN_ANCHOR = (
        "standards_need_an_anchor",
        Severity.CAUTION,
        "Standards were given, but no foil that ties them and the sample to theory; they were left aside.",
        "Give a foil.",
    )
    FRACTIONS_DEGENERATE = (
        "fractions_degenerate",
        Severity.CAUTION,
        "The shares of the standards and the metal's coordination numbers cannot be told apart "
        "(correlation over 0.9): only `CN1_sample` is given.",
        "Use `CN1_sample`; it is what an EXAFS metal-metal path reports.",
    )
    NOISY_FOIL = (
        "noisy_foil",
        Severity.CAUTION,
        "The noise of a point of the foil is over 0.5 % of its edge step; it moves every prediction alike.",
        "Measure the foil longer, or average sweeps, and fit the anchor again.",
    )
    SHORT_PRE_EDGE = (
        "short_pre_edge",
        Severity.CAUTION,
        "Sweep or foil begins within 40 eV of the edge; the pre-edge line rests on a few points.",
        "Begin 100 eV before the edge or earlier; coarse steps are enough there.",
    )
    SHORT_RANGE = (
        "short_range",
        Severity.CAUTION,
        "Sweep or foil ends before 150 eV past the edge; normalisation rests on a short window.",
        "Scan further, best to 600 eV.",
    )
    SELF_ABSORPTION_UNCORRECTED = (
        "self_absorption_uncorrected",
        Severity.CAUTION,
        "Measured in fluorescence: self-absorption damps the spectrum, which then looks like a "
        "smaller particle's.",
        "Dilute or thin the sample, or correct before.",
    )
    GLITCH = (
        "glitch",
        Severity.CAUTION,
        "Single points stand out of the curve through their neighbours, where the model looks.",
        "Look at the spectrum; a glitch of 0.1 edge steps moves CN1 by about 0.5.",
    )
    NOISY = (
        "noisy",
        Severity.CAUTION,
        "The noise of a point (in a dense sweep, of a bin) is over 2 % of the edge step.",
        "Count longer, or average sweeps.",
    )
    PARTIAL = (
        "partial",
        Severity.REMARK,
        "The sweep is still running: the rest was completed by what training spectra do after such "
        "a beginning, with its uncertainty in the interval.",
        "Watch it; decide by the completed sweep.",
    )
    INCOMPLETE = (
        "incomplete",
        Severity.CAUTION,
        "The sweep was aborted, or ends clearly short of the sweeps before it.",
        "Treat as provisional.",
    )
    BAD_POINTS = (
        "bad_points",
        Severity.REMARK,
        "Some points, of the sample or the reference, were not numbers and were left out or filled "
        "in; or, in a dense sweep, single points stood out of their bin or were at a misread "
        "energy, and were left out.",
        "Check the detectors and dark offsets.",
    )
    UNSORTED = (
        "unsorted",
        Severity.REMARK,
        "Energies were out of order and were sorted. In a dense sweep the order does not matter.",
        "Usually harmless; check the energy readback.",
    )
    REPEATED_ENERGIES = (
        "repeated_energies",
        Severity.REMARK,
        "Points at the same energy were averaged.",
        "Usually harmless.",
    )
