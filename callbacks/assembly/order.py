"""Events of one stream in order: repeated ones dropped, late ones put in their place, lost ones counted."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from event_model.documents import EventPage

HOLD = 16
"""Documents that wait for one that is missing before them, until it is taken for lost."""

_UIDS_KEPT = 100_000  # of events, by which a document that comes again is known
_NOT_COUNTING = 5  # events of one number in succession, from which a stream's numbers tell nothing


class SequenceNumbers:
    """The sequence numbers of a stream that have come."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []  # first and last of each run of numbers, ascending

    def __contains__(self, number: int) -> bool:
        return any(first <= number <= last for first, last in self._spans)

    @property
    def last(self) -> int:
        """The largest that has come; 0 before any has."""
        return self._spans[-1][1] if self._spans else 0

    def add(self, first: int, last: int) -> None:
        """Take the numbers from first to last; none where last is smaller."""
        if last < first:
            return
        if self._spans and self._spans[-1][0] <= first == self._spans[-1][1] + 1:
            self._spans[-1] = (self._spans[-1][0], last)
            return
        insort(self._spans, (first, last))
        merged = [self._spans[0]]
        for span in self._spans[1:]:
            if span[0] <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], span[1]))
            else:
                merged.append(span)
        self._spans = merged

    def forget_from(self, number: int) -> None:
        """Drop this number and those above it: a plan has gone back, and measures them again."""
        self._spans = [(first, min(last, number - 1)) for first, last in self._spans if first < number]

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return the runs of numbers from first to last that have not come, each with its first and last."""
        found = []
        for begin, end in self._spans:
            if begin > first:
                found.append((first, min(begin - 1, last)))
            first = max(first, end + 1)
            if first > last:
                break
        if first <= last:
            found.append((first, last))
        return [span for span in found if span[0] <= span[1]]


class EventOrder:
    """Gives the events of one stream in the order of their sequence numbers.

    An event whose uid has come before is dropped. Where numbers are missing, what follows waits for them,
    for a few documents; then they are taken for lost, and are left out should they come after all: which
    sweep they belong to is not certain any more. Numbers that come again under new uids are points that a
    resumed plan measures again: they are given as they come. Where the first events all have one number,
    numbers tell nothing, and the events are numbered as they come.

    Attributes
    ----------
    numbers : that have come.
    repeated : number of events dropped because they came again.
    late : number of events dropped because they came after they were taken for lost.
    counting : whether the numbers count the events.
    """

    def __init__(self) -> None:
        self.numbers = SequenceNumbers()
        self.repeated = 0
        self.late = 0
        self.counting = True
        self._next = 1
        self._held: list[tuple[int, int, EventPage]] = []  # by first number and arrival
        self._arrivals = 0
        self._uids: set[int] = set()
        self._uids_in_order: deque[int] = deque()
        self._first: list[EventPage] | None = []  # the first events, while all have one number

    @property
    def holds(self) -> bool:
        """Whether events wait for one that is missing before them."""
        return bool(self._held)

    def take(self, page: EventPage) -> list[EventPage]:
        """Take events; return those that are due, as pages."""
        page = self._new(page)
        if not page["seq_num"]:
            return []
        if not self.counting:
            return self._given([_numbered(page, self.numbers.last + 1)])
        if self._first is not None and (renumbered := self._watch_first(page)):
            return self._given(renumbered)
        due: list[EventPage] = []
        for run in _runs(page):
            due += self._place(run)
        return due

    def finish(self) -> list[EventPage]:
        """End the stream: return the events that still wait."""
        held, self._held = [page for _, _, page in self._held], []
        return self._given(held)

    def add_rows(self, numbers: Iterable[float]) -> None:
        """Take the sequence numbers of rows that came in files."""
        for number in dict.fromkeys(map(int, numbers)):
            self.numbers.add(number, number)

    def _place(self, run: EventPage) -> list[EventPage]:
        """Return what is due once events with consecutive numbers have come."""
        first = run["seq_num"][0]
        if first == 0 and not self.numbers.last:
            self._next = 0
        if first < self._next:
            known = next(
                (k for k, n in enumerate(run["seq_num"]) if n >= self._next or n in self.numbers), None
            )
            self.late += len(run["seq_num"]) if known is None else known
            if known is None:
                return []
            run = _part(run, range(known, len(run["seq_num"]))) if known else run
            due = self.finish() if run["seq_num"][0] in self.numbers else []
            return due + self._given([run])
        self._arrivals += 1
        insort(self._held, (first, self._arrivals, run), key=lambda held: held[:2])
        due = self._released()
        if len(self._held) > HOLD:
            self._next = self._held[0][0]
            due += self._released()
        return due

    def _released(self) -> list[EventPage]:
        """Return the events held that nothing is missing before."""
        due: list[EventPage] = []
        while self._held and self._held[0][0] <= self._next:
            due += self._given([self._held.pop(0)[2]])
        return due

    def _given(self, pages: Sequence[EventPage]) -> list[EventPage]:
        """Take note that these pages are given."""
        for page in pages:
            first, last = page["seq_num"][0], page["seq_num"][-1]
            if first in self.numbers:
                self.numbers.forget_from(first)
                self._next = last + 1
            self.numbers.add(first, last)
            self._next = max(self._next, last + 1)
        return list(pages)

    def _new(self, page: EventPage) -> EventPage:
        """Return the events that have not come before; those without a uid are new."""
        pairs = zip(page["uid"], page["seq_num"], strict=True)
        uids = [hash((uid, number)) if uid else None for uid, number in pairs]
        known = [uid is not None and uid in self._uids for uid in uids]
        for uid in uids:
            if uid is not None and uid not in self._uids:
                self._uids.add(uid)
                self._uids_in_order.append(uid)
        while len(self._uids_in_order) > _UIDS_KEPT:
            self._uids.discard(self._uids_in_order.popleft())
        if not any(known):
            return page
        self.repeated += sum(known)
        return _part(page, [k for k, again in enumerate(known) if not again])

    def _watch_first(self, page: EventPage) -> list[EventPage]:
        """Return the first events with numbers of their own, once as many have had the same one."""
        assert self._first is not None
        self._first.append(page)
        numbers = {number for each in self._first for number in each["seq_num"]}
        count = sum(len(each["seq_num"]) for each in self._first)
        if len(numbers) > 1:
            self._first = None
        elif count >= _NOT_COUNTING:
            self.counting = False
            [number] = numbers
            pages, self._first = self._first, None
            starts = [number + sum(len(each["seq_num"]) for each in pages[:k]) for k in range(len(pages))]
            return [_numbered(each, start) for each, start in zip(pages, starts, strict=True)]
        return []


def _runs(page: EventPage) -> Iterator[EventPage]:
    """Give the parts of a page with consecutive numbers."""
    numbers = page["seq_num"]
    ends = [k for k in range(1, len(numbers)) if numbers[k] != numbers[k - 1] + 1]
    if not ends:
        yield page
        return
    for start, end in zip([0, *ends], [*ends, len(numbers)], strict=True):
        yield _part(page, range(start, end))


def _part(page: EventPage, which: Sequence[int]) -> EventPage:
    """Return some events of a page."""
    return {
        **page,
        "uid": [page["uid"][k] for k in which],
        "time": [page["time"][k] for k in which],
        "seq_num": [page["seq_num"][k] for k in which],
        "data": {name: [values[k] for k in which] for name, values in page["data"].items()},
        "timestamps": {
            name: [values[k] for k in which] for name, values in (page.get("timestamps") or {}).items()
        },
        "filled": {name: [values[k] for k in which] for name, values in (page.get("filled") or {}).items()},
    }


def _numbered(page: EventPage, first: int) -> EventPage:
    """Return the events numbered from this one on."""
    return {**page, "seq_num": list(range(first, first + len(page["seq_num"])))}
