"""Flags: what a user should know about a prediction before believing it.

`xas-live flags document` writes docs/reference/flags.md from here.
"""

from __future__ import annotations

from enum import Enum, StrEnum

from xas_live.errors import Refusal


class Severity(Enum):
    """How a flag affects the use of a prediction: its name in tables, and what it means."""

    meaning: str

    def __new__(cls, name: str, meaning: str) -> Severity:
        """Make a member whose value is its name."""
        member = object.__new__(cls)
        member._value_ = name
        member.meaning = meaning
        return member

    STOP = ("do not use", "The numbers, or the one that the flag names, must not be used.")
    CAUTION = ("caution", "The numbers may be wrong; the remedy says what to check.")
    REMARK = ("remark", "The numbers are not affected.")


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
        """Return the flag that a prediction carries as `text`.

        Raises
        ------
        Refusal : when `text` is no flag.
        """
        if text.endswith(f"_{cls.BEYOND_TRAINING}"):
            return cls.BEYOND_TRAINING
        for flag in cls:
            if flag.value == text:
                return flag
        raise Refusal(f"{text!r} is no flag")

    NOT_USABLE = (
        "not_usable",
        Severity.STOP,
        "The spectrum is no metal of this element, or so unlike the training spectra that the interval would "
        "be wider than the model states as its limit. The reasons stand in the verdict.",
        "Do not use the numbers. Plot the spectrum over the foil; check for oxide, precursor, another "
        "element's metal or a wrong channel.",
    )
    OUT_OF_DOMAIN = (
        "out_of_domain",
        Severity.CAUTION,
        "The spectrum is unlike the training spectra; the interval is widened by what such departures cost. "
        "The reasons stand in the verdict, e.g. a white line higher than any particle's, an edge at another "
        "energy, weaker fine structure, a single point, ensemble members that disagree.",
        "Use the widened interval. Plot the spectrum over the foil; check for adsorbates, oxide, alloy, "
        "self-absorption and glitches.",
    )
    NON_METAL = (
        "non_metal",
        Severity.CAUTION,
        "Phases without metal bonds, as oxide, sulphide or salt, explain a share of the spectrum: the lower "
        "end of `non_metal` is above 0.",
        "The coordination numbers are those of the metal. With a measured standard of the other phase its "
        "share is fitted better: `--standards oxide=FILE`.",
    )
    OTHER_PHASE = (
        "other_phase",
        Severity.CAUTION,
        "The spectrum looks like another phase than the metal: alloy, oxide, sulphide or thiolate, salt or "
        "complex, hydride. Which one stands in `looks`.",
        "Compare with what the sample was made of. An alloy's neighbours are not all of the model's metal: "
        "its coordination numbers do not apply.",
    )
    EDGE_ABOVE_FOIL = (
        "edge_above_foil",
        Severity.CAUTION,
        "The edge, at half its height, lies further above the foil's than for 99 % of the model's "
        "bare metal particles (the model's `edge_rise_limit`, eV).",
        "Suspect oxidation, alloying, adsorbates, or an energy scale that moved between foil and "
        "sample. The coordination numbers of a bare metal do not apply.",
    )
    BEYOND_TRAINING = (
        "beyond_training",
        Severity.STOP,
        "The whole interval of this quantity lies outside the range of the training values.",
        "Do not use this quantity.",
    )
    UNANCHORED = (
        "unanchored",
        Severity.CAUTION,
        "No foil ties theory to this beamline; errors of the theory are read as structure.",
        "Measure a foil: put one in the reference channel, or save one with `xas-live anchor FILE "
        "--model NAME`.",
    )
    NO_REFERENCE = (
        "no_reference",
        Severity.CAUTION,
        "The reference channel was requested as anchor, and the sweep has none.",
        "Name its field (`ChannelMapping(ir=...)`, `--columns ir=N`), or give a foil as anchor.",
    )
    BAD_REFERENCE = (
        "bad_reference",
        Severity.CAUTION,
        "The reference channel is unusable, or is not a foil of this metal; the sample was analysed "
        "without it.",
        "Check the reference: foil in the beam, gain, saturation.",
    )
    ALIGNED_BY_E0 = (
        "aligned_by_e0",
        Severity.REMARK,
        "As requested, the energy scale was aligned to the foil's by the sample's own e0.",
        "The sample's own edge shift, which is signal, is removed. Prefer a reference channel.",
    )
    E0_DIFFERS_FROM_FOIL = (
        "e0_differs_from_foil",
        Severity.CAUTION,
        "The sweep was not aligned by a reference channel, and its e0 differs from the foil's by over 1 eV.",
        "Calibrate the energy, align by the reference channel, or give the shift (`--align 1.5`).",
    )
    TEMPERATURE_UNKNOWN = (
        "temperature_unknown",
        Severity.REMARK,
        "The temperature of the sample or of the foil is not recorded.",
        "Put `temperature` (K) into the metadata. A sample hotter than its foil looks smaller.",
    )
    TEMPERATURE_DIFFERS = (
        "temperature_differs",
        Severity.CAUTION,
        "The temperatures of sample and foil differ by over 100 K.",
        "For a hotter sample expect CN1 too low, by about 1 for 0.006 Å² of excess disorder. Anchor "
        "with a foil at the sample's temperature.",
    )
    RESOLUTION_DIFFERS = (
        "resolution_differs",
        Severity.CAUTION,
        "The sweep's reference channel is broader or sharper than the anchor's foil by over 0.8 eV "
        "(Gaussian width).",
        "The energy resolution has changed: fit the foil again, with today's slits and crystal.",
    )
    ANCHOR_OLD = (
        "anchor_old",
        Severity.CAUTION,
        "Foil and sample were measured over seven days apart.",
        "Measure the foil again and fit it: `xas-live anchor FILE`.",
    )
    OTHER_BEAMLINE = (
        "other_beamline",
        Severity.CAUTION,
        "The anchor's foil was measured at another beamline than the sample.",
        "Measure a foil at this beamline and fit it: `xas-live anchor FILE`; or choose another of the saved "
        "ones: `xas-live anchor list`, `xas-live anchor use NAME`.",
    )
    WEAK_FOIL = (
        "weak_foil",
        Severity.CAUTION,
        "The fine structure of the foil, or of the reference channel that acts as one, is weaker than any "
        "known bulk metal's: it may be a particle. By such a foil a sample is read too large.",
        "Look at the foil: is it in the beam, bulk metal, and not too thick? Measure it again.",
    )
    I0_NONLINEAR = (
        "i0_nonlinear",
        Severity.CAUTION,
        "mu follows the jumps of i0: the detectors are not linear alike, or a dark offset is missing.",
        "Check dark offsets, gains and saturation; check for harmonics.",
    )
    STANDARDS_NEED_AN_ANCHOR = (
        "standards_need_an_anchor",
        Severity.CAUTION,
        "Standards were given, but no foil ties them and the sample to theory; they were not used.",
        "Give a foil.",
    )
    FRACTIONS_DEGENERATE = (
        "fractions_degenerate",
        Severity.CAUTION,
        "The fractions of the standards and the metal's coordination numbers cannot be told apart "
        "(correlation over 0.9): only the value of the whole sample, `CN1_sample`, is given, by models that "
        "have one.",
        "Use `CN1_sample` where it is given; it is what an EXAFS metal-metal path reports.",
    )
    NOISY_FOIL = (
        "noisy_foil",
        Severity.CAUTION,
        "The noise of the foil is over 0.5 % of its edge step per point; it shifts all predictions alike.",
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
        "Sweep or foil ends before 150 eV past the edge; the normalisation rests on a short window.",
        "Scan further, best to 600 eV past the edge.",
    )
    SELF_ABSORPTION_UNCORRECTED = (
        "self_absorption_uncorrected",
        Severity.CAUTION,
        "Measured in fluorescence: self-absorption damps the spectrum, which then looks like a "
        "smaller particle's.",
        "Dilute or thin the sample, or correct the data first.",
    )
    GLITCH = (
        "glitch",
        Severity.CAUTION,
        "Single points within the model's grid deviate from the curve through their neighbours.",
        "Look at the spectrum; a glitch of 0.1 edge steps changes CN1 by about 0.5.",
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
        "The sweep is still running, or was aborted (flag `incomplete`): the rest was completed from the "
        "training spectra, and the interval contains the uncertainty of that.",
        "Watch it; decide by a completed sweep.",
    )
    INCOMPLETE = (
        "incomplete",
        Severity.CAUTION,
        "The sweep was aborted, or ends clearly before the end of earlier sweeps.",
        "Treat the prediction as provisional.",
    )
    BAD_POINTS = (
        "bad_points",
        Severity.REMARK,
        "Some points, of the sample or the reference, were not numbers and were left out or filled "
        "in; or, in a dense sweep, single points that deviate from their bin or have a misread energy"
        " were left out.",
        "Check the detectors and dark offsets.",
    )
    UNSORTED = (
        "unsorted",
        Severity.REMARK,
        "Energies were out of order and were sorted. In a dense sweep the order does not matter.",
        "Usually harmless; check the energy readback.",
    )
    HOLE = (
        "hole",
        Severity.CAUTION,
        "A stretch of the model's grid has no points. It was completed from the training spectra, given the "
        "points on either side, and the intervals contain what is not known there; or the sweep is refused.",
        "Measure the sweep again. Look for a beam dump, lost documents or deleted points.",
    )
    DOCUMENTS_LOST = (
        "documents_lost",
        Severity.CAUTION,
        "Sequence numbers, or the number of events in the stop document, tell that documents of the run are "
        "lost. `left_out` in `read` says how many, and which.",
        "Read the run again from the archive, if that has it whole; else measure again. Check the way that "
        "documents take: queues that overflow, subscribers that come late.",
    )
    REPEATED_ENERGIES = (
        "repeated_energies",
        Severity.REMARK,
        "Points at the same energy were averaged.",
        "Usually harmless.",
    )
