"""Runs the python blocks of pages in one process, each page in a namespace and a folder of its own.

Given on standard input: JSON, a list of [page, folder, [[line, code], ...]]. What each page printed and
raised goes as JSON into the file that is named. One process for many pages: what they import takes longer
than they do.
"""

import contextlib
import io
import json
import os
import sys
import traceback
from pathlib import Path


def run(page: str, folder: str, blocks: list[tuple[int, str]]) -> dict[str, str]:
    """What a page printed, and its traceback, whose lines are those of the page."""
    os.chdir(folder)
    namespace: dict[str, object] = {"__name__": "__main__"}
    printed, failed = io.StringIO(), ""
    try:
        with contextlib.redirect_stdout(printed):
            for line, code in blocks:
                exec(compile("\n" * (line - 1) + code, page, "exec"), namespace)
    except BaseException:  # noqa: BLE001 whatever a block raises is the page's failure
        failed = traceback.format_exc()
    with contextlib.suppress(Exception):
        namespace["xas"].close()  # type: ignore[attr-defined]
    return {"printed": printed.getvalue(), "failed": failed}


if __name__ == "__main__":
    results = {page: run(page, folder, blocks) for page, folder, blocks in json.load(sys.stdin)}
    Path(sys.argv[1]).write_text(json.dumps(results))
