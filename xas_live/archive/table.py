"""predictions: what an archive holds of many runs, as one table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xas_live.archive.address import DERIVED, Address
from xas_live.archive.catalog import Archive, open_archive
from xas_live.archive.derived import beside
from xas_live.archive.errors import ArchiveError
from xas_live.archive.names import original
from xas_live.archive.uri import is_uri, joined
from xas_live.host import local_time
from xas_live.prediction import FAILED

if TYPE_CHECKING:
    import pandas as pd

When = str | float | date
"""A date and time: text as "2026-03-01 14:00", a `datetime` or `date`, or Unix seconds; local by default."""

_SAMPLE = ("sample_name", "sample", "sample.name", "sample_id")
_ARROW = "application/vnd.apache.arrow.file"
_FIRST = ("uid", "scan", "sample", "temperature", "element", "edge", "sweep", "time", "model")
_LAST = (
    "diameter", "diameter_lower", "diameter_upper", "size", "verdict", "verdict_reason", "widening",
    "in_domain", "domain_judged", "anchor", "flags", "refused", "derived_uid",
)  # fmt: skip
_LEFT_OUT = (
    "raw_stream", "left_out", "other_values", "partial", "aligned", "anchored", "analysis_seconds", "seq_num",
    "domain_p", "domain_score", "domain_reason", "e0", "edge_step", "shift",
)  # fmt: skip
"""Columns of the stream `predictions` that are no columns of `xas.table`; nor are `_std` and `_model`."""

_SWEEP = ("uid", "raw_stream", "sweep")
_ONE = ("uid", "element", "edge", "model", "raw_stream", "sweep")
"""What a row is known by: of an analysis done again, the newest stays."""


def predictions(
    catalog: Archive | str | Path | Any,
    run: int | str | None = None,
    *,
    sample: str | None = None,
    element: str | None = None,
    model: str | None = None,
    since: When | None = None,
    until: When | None = None,
) -> pd.DataFrame:
    """Return what the models said of stored runs, one row a sweep and model, in the order of measurement.

    The server searches; each derived run is then read by one request. Where a sweep was analysed several
    times, its newest analysis is given, and none that failed where another did not.

    Parameters
    ----------
    catalog : an archive, the folder or URI of one, or Tiled's client of a catalog: of derived runs, or of
        the raw runs that they lie beside.
    run : one raw run: its uid, whole or the beginning; its scan id (the latest run of that number); or
        counted from the end, -1 for the last one that all else applies to.
    sample : name of the sample, as in `sample_name`, `sample` or `sample_id` of the start document.
    element, model : as "Pt", "pt-l3".
    since, until : times at which the raw run began: at or after, and before.

    Returns
    -------
    A table with the columns of `xas.table` but `averaged` and `lag`, and `uid` (of the raw run),
    `temperature` (K), `element`, `edge`, `derived_uid`. Empty where nothing is found.

    Raises
    ------
    ArchiveError : when the catalog cannot be reached, or a time cannot be read.

    Examples
    --------
    >>> xas_live.predictions("~/xas_archive", sample="Pt/Al2O3", since="2026-03-01")
    >>> xas_live.predictions(archive, -1)[["scan", "CN1", "CN1_lower", "CN1_upper"]]
    """
    from tiled.queries import Comparison, Eq

    wanted: list[Any] = [
        Eq(f"start.{key}", value) for key, value in (("element", element), ("model", model)) if value
    ]
    wanted += [Comparison("ge", "start.time", _seconds(since, "since"))] if since is not None else []
    wanted += [Comparison("lt", "start.time", _seconds(until, "until"))] if until is not None else []
    with _derived(catalog) as catalogs:
        runs = [found for each in catalogs for found in _search(each, wanted, sample, run)]
        # One after the other: the DuckDB behind a Tiled server may fail when it is read by two at once.
        frames = [frame for frame in map(_frame, runs) if frame is not None]
    return _table(frames)


def _seconds(when: When, name: str) -> float:
    """Return a time in Unix seconds; local time where it does not say of which zone."""
    import pandas as pd

    if isinstance(when, int | float):
        return float(when)
    try:
        return float(pd.Timestamp(when).to_pydatetime().timestamp())
    except (ValueError, TypeError) as error:
        raise ArchiveError(f"{name}={when!r} is no date: write it as '2026-03-01 14:00'") from error


@contextmanager
def _derived(catalog: Archive | str | Path | Any) -> Iterator[list[Any]]:
    """Give Tiled's clients of the catalogs of derived runs that belong to a catalog."""
    if isinstance(catalog, Archive):
        found = catalog.find_derived()
        yield [] if found is None else [found]
    elif isinstance(catalog, str | Path) and not is_uri(str(catalog)):
        with open_archive(catalog) as opened:
            yield [opened.derived]
    else:
        client = Address.of_uri(str(catalog)).connect() if isinstance(catalog, str | Path) else catalog
        yield [client] if _holds_derived(client) else _near(client)


def _holds_derived(client: Any) -> bool:
    from tiled.client.container import Container
    from tiled.queries import KeyPresent

    return bool(Container.search(client, KeyPresent("start.raw_uid")).keys()[:1])


def _near(client: Any) -> list[Any]:
    """Return the catalogs of derived runs beside a catalog, and in it, where the first version made them."""
    uri = str(client.uri).rstrip("/")
    neighbour = beside(Address(uri=uri))
    places = [joined(uri, DERIVED)] + ([] if neighbour is None else [neighbour.uri])
    found = [_node(client, place) for place in places]
    return [each for each in found if each is not None]


def _node(client: Any, uri: str) -> Any | None:
    """Return the client of another node of the same server; None where there is none."""
    from tiled.client import from_context
    from tiled.client.utils import ClientError

    keys = [key for key in uri.partition("/metadata/")[2].split("/") if key]
    try:
        return from_context(client.context, node_path_parts=keys)
    except ClientError as error:
        if error.response.status_code in (401, 403, 404):
            return None
        raise


def _search(catalog: Any, wanted: Iterable[Any], sample: str | None, run: int | str | None) -> list[Any]:
    """Return the derived runs of a catalog that were asked for, in the order of measurement."""
    from tiled.client.container import Container
    from tiled.queries import Eq, KeyPresent, Like

    # Container's own search: that of a catalog of runs would put "start." before other keys.
    search = Container.search
    found = search(search(catalog, KeyPresent("start.raw_uid")), KeyPresent("start.model"))
    for query in wanted:
        found = search(found, query)
    if isinstance(run, str):
        found = search(found, Like("start.raw_uid", f"{run}%"))
    elif run is not None and run >= 0:
        found = search(found, Eq("start.scan_id", run))
    keys = [] if sample is None else [Eq(f"start.{key}", sample) for key in _SAMPLE]
    results = [search(found, key) for key in keys] or [found]
    each = [result.sort(("start.time", -1)) for result in results]
    runs: dict[str, Any] = {}
    for result in each:
        last = None if run is None or isinstance(run, str) else max(1, -run)
        runs |= {str(one.metadata["start"]["uid"]): one for one in _of_last(result.values(), last)}
    newest_first = sorted(runs.values(), key=lambda one: -float(one.metadata["start"]["time"]))
    if run is None or isinstance(run, str):
        return newest_first[::-1]
    return _nth_last(newest_first, max(1, -run))


def _of_last(runs: Iterable[Any], last: int | None) -> Iterator[Any]:
    """Give derived runs, newest first, of so many raw runs; None for all."""
    seen: set[str] = set()
    for run in runs:
        seen.add(run.metadata["start"]["raw_uid"])
        if last is not None and len(seen) > last:
            return
        yield run


def _nth_last(newest_first: list[Any], number: int) -> list[Any]:
    """Return the derived runs of the raw run that is so many from the end."""
    raw = list(dict.fromkeys(run.metadata["start"]["raw_uid"] for run in newest_first))
    (wanted,) = list(islice(raw, number - 1, number)) or (None,)
    return [run for run in newest_first if run.metadata["start"]["raw_uid"] == wanted]


def _frame(run: Any) -> pd.DataFrame | None:
    """Return the rows of one derived run; None while it has none."""
    from pyarrow import feather
    from tiled.client.utils import ClientError, handle_error, retry_context

    url = run.uri.replace("/metadata/", "/table/full/", 1) + "/predictions/internal"
    try:
        for attempt in retry_context():
            with attempt:
                answer = handle_error(run.context.http_client.get(url, headers={"Accept": _ARROW}))
    except ClientError as error:
        if error.response.status_code == 404:  # it has just begun
            return None
        raise
    frame: pd.DataFrame = feather.read_table(BytesIO(answer.content)).to_pandas()
    if any(note.startswith("Renamed") for note in run.metadata.get("notes") or ()):
        frame = frame.rename(columns=original(run["predictions"].metadata)[1])
    start = run.metadata["start"]
    told = {"uid": "raw_uid", "derived_uid": "uid", **{key: key for key in ("element", "edge", "model")}}
    facts: dict[str, Any] = {column: start.get(key) for column, key in told.items()}
    facts |= {"sample": _sample(start), "_analysed": start.get("analysed_at", 0.0)}
    if "temperature" not in frame:  # of the first version
        facts["temperature"] = start.get("temperature", float("nan"))
    return frame.assign(**{column: [value] * len(frame) for column, value in facts.items()})


def _sample(start: Mapping[str, Any]) -> str:
    sample = start.get("sample")
    within = sample.get("name") if isinstance(sample, Mapping) else sample
    return str(start.get("sample_name") or within or start.get("sample_id") or "")


def _without_failed(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave out sweeps on which the analysis failed, where another one did not."""
    if "refused" not in rows:
        return rows
    failed = rows["refused"].fillna("").astype(str).str.startswith(FAILED)
    judged = set(rows.loc[~failed, list(_SWEEP)].itertuples(index=False, name=None))
    sweeps = rows[list(_SWEEP)].itertuples(index=False, name=None)
    return rows[[not (bad and sweep in judged) for bad, sweep in zip(failed, sweeps, strict=True)]]


def _table(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all derived runs, each sweep once a model, with the columns of a table."""
    import pandas as pd

    if not frames:
        return pd.DataFrame(columns=[*_FIRST, *_LAST])
    rows = pd.concat(frames, ignore_index=True)
    rows = rows.sort_values(["_analysed", "time"], kind="stable").drop_duplicates(list(_ONE), keep="last")
    rows = _without_failed(rows).sort_values(["time", "sweep"], kind="stable")
    rows["time"] = [local_time(seconds) for seconds in rows["time"]]
    given = [
        column
        for column in map(str, rows.columns)
        if column not in {*_FIRST, *_LAST, *_LEFT_OUT, "_analysed"}
        and not column.startswith(("ts_", "share_"))
        and not column.endswith(("_std", "_model"))
        and not (column.endswith("_statistical") and rows[column].isna().all())
    ]
    texts = [column for column in given if rows[column].dtype.kind not in "fiub"]
    rows[texts] = rows[texts].fillna("")
    return rows.reindex(columns=[*_FIRST, *given, *_LAST]).reset_index(drop=True)
