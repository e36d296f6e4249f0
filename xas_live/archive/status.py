"""How a RunWriter does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class WriterStatus:
    """How a RunWriter does.

    Attributes
    ----------
    queued : documents in memory, not on disk yet.
    spooled : documents on disk, not in the archive yet.
    delivered : documents in the archive.
    runs_delivered : runs in the archive as a whole, with those of crashed sessions.
    runs_failed : runs whose delivery failed and is tried again.
    set_aside : runs that the archive does not take, or not as a whole, with those of crashed sessions: see
        `xas-live spool`.
    rejected : documents that belong to no run seen from its start, or that came after `close`.
    altered : values that could not be stored and became their text.
    lost : documents that could not be kept: neither disk nor memory took them, or they cannot be stored.
    restarts : of the delivery process.
    lag : seconds since the oldest document not in the archive was handed in; 0 when there is none.
    online : False while the archive does not answer.
    last_error : in words; "" when there was none.
    folder : where the spool is.
    """

    queued: int
    spooled: int
    delivered: int
    runs_delivered: int
    runs_failed: int
    set_aside: int
    rejected: int
    altered: int
    lost: int
    restarts: int
    lag: float
    online: bool
    last_error: str
    folder: Path

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong now and nothing was lost."""
        return self.online and not (self.runs_failed or self.set_aside or self.rejected or self.lost)

    def __str__(self) -> str:
        waiting = self.queued + self.spooled
        text = f"{self.delivered} documents in the archive, {waiting} on their way"
        if waiting:
            text += f" for {self.lag:.0f} s"
        troubles = [
            (self.runs_failed, "runs failed and are tried again"),
            (self.set_aside, "runs set aside (xas-live spool list)"),
            (self.rejected, "documents rejected"),
            (self.altered, "values kept as text"),
            (self.lost, "documents lost"),
            (self.restarts, "restarts of the delivery"),
        ]
        text += "".join(f"; {count} {what}" for count, what in troubles if count)
        if not self.online:
            text += "; the archive does not answer"
        return text + (f". Last error: {self.last_error}" if self.last_error else "")
