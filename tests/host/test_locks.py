import os
import signal
import subprocess
import sys

from xas_live.host import FileLock


def test_one_holds_it_alone_or_many_share_it(tmp_path):
    path = tmp_path / "lock"
    with FileLock.take(path, shared=True) as first, FileLock.take(path, shared=True):
        assert FileLock.take(path) is None
        first.release()
        assert FileLock.take(path) is None
    with FileLock.take(path):
        assert FileLock.take(path, shared=True) is None
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_ends_with_its_process_and_not_with_a_forked_child(tmp_path):
    path = tmp_path / "lock"
    lock = FileLock.take(path)
    ready, child_is_ready = os.pipe()
    child = os.fork()
    if child == 0:
        lock.release()
        os.write(child_is_ready, b".")
        signal.pause()
    try:
        os.read(ready, 1)
        assert FileLock.take(path) is None
        lock.release()
        with FileLock.take(path):
            os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_process_that_inherits_it_holds_it_on(tmp_path):
    path = tmp_path / "lock"
    with FileLock.take(path) as lock:
        heir = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock.fileno()]
        )
    assert FileLock.take(path) is None
    heir.kill()
    heir.wait()
    assert FileLock.take(path) is not None
