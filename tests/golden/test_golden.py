"""What users see stays what it is: numbers, flags, words, names of columns, as the golden files hold them.

The networks run in float32, and other processors and libraries round differently. Each golden file therefore
says on which arithmetic it was made. On the same arithmetic numbers must be equal to 1e-9, relative to the
larger of 1 and the number. On another they must be equal to 1e-4, likewise, but for ranks among calibration
spectra and what is drawn from them, which go in steps: p-values to 0.02, the stake of drift to 10 %; and
numbers within texts are not compared. Flags, truths, texts and lengths must be equal exactly on both. A
result may gain keys and a table columns; none may go.

The files are written by `make.py`, by the very functions that compute what is compared here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import cases
import make
import pytest

SAME, ELSEWHERE = 1e-9, 1e-4
STEPS = {"domain_p": 0.02, "stake": 0.1}
IN_ORDER = "columns"
"""Under this key names also keep their order."""
OF_COLUMNS = "/object_keys/"
"""Lists under this key name a stream's columns: it may gain some."""

_NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?")


def differences(
    golden: Any, found: Any, *, same: bool = True, key: str = "", where: str = ""
) -> Iterator[str]:
    """Where what is found is not what the golden file holds, in words.

    Parameters
    ----------
    same : whether both come from the same arithmetic.
    key : the last key on the way here; where: the whole way.
    """
    if isinstance(golden, dict) and isinstance(found, dict):
        for name, value in golden.items():
            if name not in found:
                yield f"{where}/{name} is missing"
            else:
                yield from differences(value, found[name], same=same, key=name, where=f"{where}/{name}")
        if key == IN_ORDER and [name for name in found if name in golden] != list(golden):
            yield f"{where}: the order is {list(found)}"
    elif isinstance(golden, list) and isinstance(found, list) and OF_COLUMNS in where:
        if [name for name in found if name in golden] != golden:
            yield f"{where}: the columns are {found}"
    elif isinstance(golden, list) and isinstance(found, list):
        if len(golden) != len(found):
            yield f"{where}: {len(found)} entries, not {len(golden)}"
        for k, (value, other) in enumerate(zip(golden, found, strict=False)):
            yield from differences(value, other, same=same, key=key, where=f"{where}/{k}")
    elif _is_number(golden) and _is_number(found):
        allowed = SAME if same else STEPS.get(key, ELSEWHERE)
        if not abs(found - golden) <= allowed * max(1.0, abs(golden)):
            yield f"{where}: {found!r}, not {golden!r}"
    elif isinstance(golden, str) and isinstance(found, str) and not same:
        if _NUMBER.sub("#", golden) != _NUMBER.sub("#", found):
            yield f"{where}: {found!r}, not {golden!r}"
    elif type(golden) is not type(found) or golden != found:
        yield f"{where}: {found!r}, not {golden!r}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def assert_golden(name: str, found: Any) -> None:
    """Hold results to a golden file; the message names the first differences."""
    golden = json.loads(make.path_of(name).read_text(encoding="utf-8"))
    same = golden["fingerprint"] == make.fingerprint()
    wrong = list(differences(golden["results"], found, same=same))
    if wrong:
        how = "1e-9, on the same arithmetic" if same else "1e-4, on another arithmetic"
        some = "\n  ".join(wrong[:20])
        pytest.fail(f"{len(wrong)} differences from {name}.json (to {how}):\n  {some}", pytrace=False)


@pytest.mark.parametrize("name", list(cases.CASES))
def test_what_users_see_is_what_it_was(name: str) -> None:
    try:
        found = make.computed(name)
    except cases.NoDataError as error:
        pytest.skip(str(error))
    assert_golden(name, found)


def test_the_second_process_says_the_same() -> None:
    assert_golden("second_process", make.computed_elsewhere())


def test_there_is_a_case_for_every_file() -> None:
    assert {path.stem for path in make.FOLDER.glob("*.json")} == set(cases.CASES)


def test_of_measured_spectra_nothing_is_kept_point_by_point() -> None:
    def lengths(found: Any) -> Iterator[int]:
        if isinstance(found, dict | list):
            values = list(found.values()) if isinstance(found, dict) else found
            if values and all(map(_is_number, values)):
                yield len(values)
            for value in values:
                yield from lengths(value)

    results = json.loads(make.path_of("measured").read_text(encoding="utf-8"))["results"]
    assert max(lengths(results)) <= 8  # the latent coordinates


@pytest.mark.parametrize(
    ("golden", "found", "same"),
    [
        ({"a": 1.0}, {}, True),
        ({"a": 1.0}, {"a": 1.0 + 2e-9}, True),
        ({"a": 1.0}, {"a": 1.0 + 2e-4}, False),
        ({"a": 1.0}, {"a": None}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": ["glitch"]}, {"a": ["glitch", "noisy"]}, False),
        ({"a": "1.8 nm"}, {"a": "1.9 nm"}, True),
        ({"a": "in domain"}, {"a": "out of domain"}, False),
        ({"columns": {"a": None, "b": None}}, {"columns": {"b": None, "a": None}}, True),
        ({"object_keys": {"x": ["a", "b"]}}, {"object_keys": {"x": ["b", "a"]}}, True),
        ({"object_keys": {"x": ["a", "b"]}}, {"object_keys": {"x": ["a"]}}, True),
    ],
)
def test_a_difference_is_seen(golden: Any, found: Any, same: bool) -> None:
    assert list(differences(golden, found, same=same))


@pytest.mark.parametrize(
    ("golden", "found", "same"),
    [
        ({"a": 1e6}, {"a": 1e6 + 1e-4, "new": 2}, True),
        ({"a": 1.0, "domain_p": 0.5}, {"a": 1.00005, "domain_p": 0.505}, False),
        ({"a": "1.8 nm"}, {"a": "1.9 nm"}, False),
        ({"columns": {"a": None, "b": None}}, {"columns": {"a": None, "new": None, "b": None}}, True),
        ({"object_keys": {"x": ["a", "b"]}}, {"object_keys": {"x": ["a", "new", "b"]}}, True),
    ],
)
def test_what_may_differ_is_let_be(golden: Any, found: Any, same: bool) -> None:
    assert not list(differences(golden, found, same=same))
