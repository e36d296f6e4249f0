import logging
import threading

from xas_live.archive.troubles import Troubles


def test_each_trouble_is_told_once_and_once_when_it_is_over():
    told = []
    troubles = Troubles(told.append)
    troubles.over("disk", "never told")
    for _ in range(2):
        for _ in range(3):
            troubles.add("disk", "full")
        troubles.over("disk", "free")
    troubles.close()
    assert told == ["full", "free"] * 2


def test_who_listens_may_be_slow_or_fail(caplog):
    release = threading.Event()

    def tell(text):
        release.wait(20)
        raise OSError("the console is gone")

    troubles = Troubles(tell)
    troubles.add("a", "first")
    troubles.add("b", "second")
    release.set()
    troubles.close()
    assert "could not be told: second" in caplog.text


def test_without_a_listener_the_log_has_it(caplog):
    with caplog.at_level(logging.WARNING):
        troubles = Troubles()
        troubles.add("a", "100% full")
        troubles.close()
        troubles.add("b", "too late")
    assert [record.getMessage() for record in caplog.records] == ["100% full", "too late"]
