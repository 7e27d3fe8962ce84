"""Telling of events: to the log without patient data, to hooks with all; at least once, but not for ever."""

import json
import os
import sys
import time

import pytest
import structlog
from inline import config
from webhook import Webhook

from sorter.errors import ConfigError
from sorter.events import events as module
from sorter.events.events import GIVE_UP, PAUSE_MOST, Events, pause
from sorter.model import Candidate, Kind, Outcome, Reason


@pytest.fixture
def log():
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def opened(tmp_path):
    """``opened(hook, ...)``: events of a configuration with these hooks, not started."""
    made = []

    def start(*hooks):
        one = config(tmp_path, hooks=list(hooks))
        (one.archive / ".sorter").mkdir(parents=True, exist_ok=True)
        made.append(Events(one))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "pause", lambda _failures, _asked=0.0: 0.0)


def hook(url, *events):
    return {"events": events or ("trouble",), "url": url}


def files(tmp_path):
    return sorted((tmp_path / "archive" / ".sorter" / "outbox").iterdir())


def sent(server):
    return [json.loads(body) for _, _, body in server.requests]


def refused(name, kind=Kind.REJECTED, reason=Reason.TRUNCATED):
    path = f".sorter/quarantine/{reason}/{name}.dcm"
    return Outcome(Candidate("/in/Doe^John", name, 1, 2, 3, 4, 5, "/in"), kind, reason, "cut", path)


def test_an_event_has_a_name_an_id_a_time_and_its_data(opened):
    with Webhook() as server:
        events = opened(hook(server.url))
        events.emit("trouble", {"kind": "watch"})
        events.send(time.monotonic())
    (event,) = sent(server)
    assert (event["event"], event["data"]) == ("trouble", {"kind": "watch"})
    assert len(event["id"]) == 32
    assert event["time"].endswith("+00:00")


def test_a_hook_hears_only_what_it_asked_for(opened, tmp_path):
    opened(hook("http://127.0.0.1:9", "refused")).trouble("watch", "gone")
    assert files(tmp_path) == []


def test_without_hooks_there_is_only_the_log(opened, log, tmp_path):
    events = opened()
    events.start()
    events.trouble("watch", "gone")
    assert [line["event"] for line in log] == ["event_trouble"]
    assert not (tmp_path / "archive" / ".sorter" / "outbox").exists()
    assert events.report() == {}


def test_all_that_a_batch_refused_is_one_event(opened, log):
    with Webhook() as server:
        events = opened(hook(server.url, "refused"))
        stored = Outcome(Candidate("/in", "a", 1, 2, 3, 4, 5), Kind.STORED)
        events.note([refused("a"), stored, refused("b", Kind.CONFLICT, Reason.CONFLICT)])
        events.send(time.monotonic())
    (event,) = sent(server)
    assert event["data"]["count"] == 2
    assert [one["reason"] for one in event["data"]["files"]] == ["truncated", "conflict"]
    assert event["data"]["files"][0]["quarantine"] == "quarantine/truncated/a.dcm"
    assert "Doe" not in json.dumps(event)
    assert [(line["event"], line["count"]) for line in log] == [("event_refused", 2)]


def test_a_batch_that_refused_nothing_is_no_event(opened, log):
    opened().note([Outcome(Candidate("/in", "a", 1, 2, 3, 4, 5), Kind.STORED)])
    assert log == []


def test_the_same_trouble_is_told_once_in_a_while(opened, log, monkeypatch):
    events = opened()
    for detail in ("a", "a", "b", "a"):
        events.trouble("watch", detail)
    assert [line["detail"] for line in log] == ["a", "b"]
    later = time.monotonic() + module.TROUBLE_AGAIN
    monkeypatch.setattr(time, "monotonic", lambda: later)
    events.trouble("watch", "a")
    assert len(log) == 3


def test_what_is_blocked_is_trouble(opened, log):
    candidate = Candidate("/in", "a", 1, 2, 3, 4, 5)
    opened().note([Outcome(candidate, Kind.DEFERRED, Reason.BLOCKED)])
    assert [line["kind"] for line in log] == ["blocked"]


def test_an_event_that_was_not_taken_is_sent_again_with_the_same_id(opened, quick):
    with Webhook([(503, {}), (503, {})]) as server:
        events = opened(hook(server.url))
        events.trouble("watch", "gone")
        for _ in range(3):
            events.send(time.monotonic())
    assert len(server.requests) == 3
    assert len({event["id"] for event in sent(server)}) == 1
    assert events.report()["hooks"] == {
        "waiting": 0,
        "sent": 1,
        "failed_attempts": 2,
        "given_up": 0,
        "dropped": 0,
    }


def test_events_of_earlier_runs_are_sent(opened):
    with Webhook() as server:
        opened(hook(server.url)).trouble("watch", "gone")
        opened(hook(server.url)).send(time.monotonic())
    assert [event["data"]["detail"] for event in sent(server)] == ["gone"]


def test_a_hook_that_fails_is_left_alone_for_a_while(opened):
    with Webhook([(503, {})]) as server:
        events = opened(hook(server.url))
        events.trouble("watch", "gone")
        due = events.send(time.monotonic())
        events.send(time.monotonic())
    assert len(server.requests) == 1
    assert due > time.monotonic()


def test_one_event_that_a_hook_cannot_take_does_not_hold_up_the_others(opened, quick):
    with Webhook([(500, {})]) as server:
        events = opened(hook(server.url))
        events.trouble("watch", "first")
        events.trouble("watch", "second")
        for _ in range(3):
            events.send(time.monotonic())
    assert [event["data"]["detail"] for event in sent(server)] == ["first", "second", "first"]


def test_an_event_that_is_refused_for_good_is_given_up(opened, log):
    with Webhook([(400, {})]) as server:
        events = opened(hook(server.url))
        events.trouble("watch", "gone")
        events.send(time.monotonic())
    assert (events.report()["hooks"]["waiting"], events.report()["hooks"]["given_up"]) == (0, 1)
    assert log[-1]["event"] == "event_given_up"


def test_an_event_is_given_up_after_a_day_of_attempts(opened, quick, monkeypatch):
    with Webhook([(503, {}), (503, {})]) as server:
        events = opened(hook(server.url))
        events.trouble("watch", "gone")
        events.send(time.monotonic())
        assert events.report()["hooks"]["waiting"] == 1
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + GIVE_UP + 1)
        events.send(time.monotonic())
    assert (len(server.requests), events.report()["hooks"]["given_up"]) == (2, 1)


def test_an_event_that_lay_for_long_is_tried_once_at_least(opened, monkeypatch):
    with Webhook() as server:
        events = opened(hook(server.url))
        events.trouble("watch", "gone")
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 3 * GIVE_UP)
        events.send(time.monotonic())
    assert events.report()["hooks"]["sent"] == 1


def test_the_log_names_neither_address_nor_answer_of_a_hook(opened, log):
    with Webhook([(503, {})]) as server:
        events = opened(hook(f"{server.url}/token-4711"))
        events.trouble("watch", "gone")
        events.send(time.monotonic())
    assert log[-1]["name"] == "hook 1"
    assert "4711" not in json.dumps(log)


def test_a_damaged_file_in_the_outbox_is_dropped(opened, tmp_path, log):
    events = opened(hook("http://127.0.0.1:9"))
    events.trouble("watch", "gone")
    files(tmp_path)[0].write_bytes(b"{")
    events.send(time.monotonic())
    assert files(tmp_path) == []
    assert log[-1]["event"] == "event_lost"


def test_a_full_disk_loses_the_event_and_nothing_else(opened, tmp_path, log):
    events = opened(hook("http://127.0.0.1:9"))
    (tmp_path / "archive" / ".sorter" / "outbox").rmdir()
    events.trouble("watch", "gone")
    assert log[-1]["event"] == "event_lost"


def test_the_thread_sends_soon_and_stops_within_two_seconds(opened, tmp_path):
    with Webhook() as server:
        events = opened(
            hook(server.url),
            {"events": ["trouble"], "command": [sys.executable, "-c", "import time; time.sleep(60)"]},
        )
        events.start()
        events.trouble("watch", "gone")
        until = time.monotonic() + 5
        while not server.requests and time.monotonic() < until:
            time.sleep(0.01)
        began = time.monotonic()
        events.close()
        assert time.monotonic() - began < 2.5
        assert len(server.requests) == 1
    assert len(files(tmp_path)) == 1, "the command's event waits for the next start"


def test_telling_waits_for_nobody(opened):
    with Webhook() as server:
        server.slow = 2.0
        events = opened(hook(server.url))
        events.start()
        began = time.monotonic()
        for number in range(20):
            events.emit("trouble", {"number": number})
        assert time.monotonic() - began < 1


def test_pauses_grow_to_five_minutes_and_vary():
    assert 0.5 <= pause(0) <= 1
    assert PAUSE_MOST / 2 <= pause(50) <= PAUSE_MOST
    assert len({pause(5) for _ in range(20)}) > 1


def test_a_server_that_asks_for_more_time_gets_it():
    assert pause(1, 900.0) == 900


def test_a_secret_that_cannot_be_read_is_an_error_of_the_configuration(opened, tmp_path):
    with pytest.raises(ConfigError, match="secret"):
        opened(hook("https://example.org") | {"secret_file": os.fspath(tmp_path / "none")})
