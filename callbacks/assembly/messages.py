"""What the assembler tells the user: which fields it chose, and why a run gives no spectra."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from xas_live.callbacks.assembly.channels import ChannelMapping
from xas_live.callbacks.assembly.stream_fields import said_names


class Messages:
    """Lines for the user; what is the same for many runs is told once.

    Parameters
    ----------
    tell : takes one line.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self._told: set[str] = set()

    def tell_once(self, text: str, *, subject: str | None = None) -> None:
        """Tell a line unless one about the same subject was told before.

        Parameters
        ----------
        text : the line.
        subject : what it is about; default: its text.
        """
        subject = text if subject is None else subject
        if subject not in self._told:
            self._told.add(subject)
            self.tell(text)


def mapping_chosen(mapping: ChannelMapping, streams: Sequence[str], energy_unit: str) -> str:
    """Say which fields of a run are read, and how to change that.

    Parameters
    ----------
    mapping : complete.
    streams : that are read; several are joined by time.
    energy_unit : that the energy is recorded in.
    """
    channels = ", ".join(f"{channel} = {said_names(names)}" for channel, names in mapping.channels.items())
    beside = f", dead time by {' '.join(mapping.icr)} over {' '.join(mapping.ocr)}" if mapping.icr else ""
    beside += "".join(f", temperature = {name}" for name in [mapping.temperature] if name)
    beside += f", signals {' '.join(mapping.signals)}" if mapping.signals else ""
    guessed = f" Guessed: {'; '.join(mapping.remarks)}." if mapping.remarks else ""
    where = f"Stream {streams[0]!r}"
    if len(streams) > 1:
        where = f"Streams {' and '.join(map(repr, streams))} joined by time"
    example = replace(mapping, mode=None, stream=None)
    return (
        f"{where}, {mapping.mode}: energy = {mapping.energy} ({energy_unit}), {channels}{beside}."
        f"{guessed} Not right? Change and give mapping={example}"
    )


def no_spectra(label: str, why: str) -> str:
    """Say that a run gives no spectra, and what to do.

    Parameters
    ----------
    label : of the run.
    why : the reason.
    """
    return (
        f"Run {label} gives no spectra: {why}. If it should, name the fields: "
        f"mapping=ChannelMapping(energy='...', i0='...', it='...')."
    )
