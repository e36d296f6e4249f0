"""The last scans of a session as spectra, so that one of them can become a foil."""

from __future__ import annotations

import threading
from collections import OrderedDict

from xas_live.errors import Refusal
from xas_live.spectrum import Spectrum

SCANS_KEPT = 100


class LastScans:
    """The last scans: of each run, stream and absorber the average of its sweeps, or its only sweep.

    Safe to share between threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str | None, ...], Spectrum] = OrderedDict()

    def add(self, spectrum: Spectrum) -> None:
        """Take a sweep, or an average, which replaces the sweeps before."""
        where = spectrum.provenance
        key = (where.run_uid, where.stream, spectrum.element, spectrum.edge)
        with self._lock:
            known = self._kept.get(key)
            if known is not None and known.provenance.averaged > where.averaged:
                return  # the average that this sweep goes into is still to come
            self._kept[key] = spectrum
            self._kept.move_to_end(key)
            while len(self._kept) > SCANS_KEPT:
                self._kept.popitem(last=False)

    def find(self, which: int | str) -> Spectrum:
        """Return a scan: -1 is the last, 12 that of scan id 12; or the beginning of its uid.

        Raises
        ------
        Refusal : when there is none, naming those there are.
        """
        with self._lock:
            scans = list(self._kept.values())
        if isinstance(which, int) and which < 0:
            found = scans[which : which + 1 or None] if -which <= len(scans) else []
        elif isinstance(which, int):
            found = [each for each in scans if each.provenance.scan_id == which]
        else:
            found = [each for each in scans if which and (each.provenance.run_uid or "").startswith(which)]
        if not found:
            last = ", ".join(each.provenance.scan for each in scans[-5:]) or "none yet"
            raise Refusal(f"no scan {which!r} in this session: the last ones are {last}; -1 is the last")
        return found[-1]
