"""One attempt to take an event to a hook: what is sent, and what the answers mean."""

import hashlib
import hmac
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
from support import ROOT
from webhook import Webhook

from sorter.config import Hook
from sorter.errors import ConfigError
from sorter.events.sending import Answer, Carrier, check_hook, signature

BODY = b'{"event": "trouble", "id": "4711"}'


def carry(hook, stopping=None):
    carrier = Carrier()
    try:
        return carrier.carry(hook, "trouble", "4711", BODY, stopping or threading.Event())
    finally:
        carrier.close()


def python(code, *args, **more):
    return Hook(events=("trouble",), command=(sys.executable, "-c", code, *map(str, args)), **more)


def web(url, **more):
    return Hook(events=("trouble",), url=url, **more)


# -- commands -----------------------------------------------------------------------------------------


def test_a_command_gets_the_event_on_standard_input_and_its_name_as_a_variable(tmp_path):
    code = "import os, sys; open(sys.argv[1], 'w').write(os.environ['SORTER_EVENT'] + sys.stdin.read())"
    attempt = carry(python(code, tmp_path / "out"))
    assert Answer.TAKEN is attempt.answer
    assert "trouble" + BODY.decode() == (tmp_path / "out").read_text()


def test_a_command_inherits_no_options_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("SORTER_ARCHIVE", "/srv")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    code = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"
    carry(python(code, tmp_path / "out"))
    found = json.loads((tmp_path / "out").read_text())
    ours = {key for key in found if key.startswith(("SORTER_", "NOTIFY"))}
    assert {"SORTER_EVENT", "SORTER_EVENT_ID"} == ours
    assert found["SORTER_EVENT_ID"] == "4711"


def test_no_shell_looks_at_a_command(tmp_path):
    carry(python("import sys; open(sys.argv[1], 'w').write(sys.argv[2])", tmp_path / "out", "$HOME; `id`"))
    assert (tmp_path / "out").read_text() == "$HOME; `id`"


def test_a_command_need_not_read_the_event():
    assert Answer.TAKEN is carry(Hook(events=("trouble",), command=("/bin/true",))).answer


def test_a_command_that_fails_is_tried_again():
    attempt = carry(python("raise SystemExit(3)"))
    assert (attempt.answer, attempt.reason) == (Answer.LATER, "status 3")


def test_a_command_that_does_not_exist_is_tried_again():
    attempt = carry(Hook(events=("trouble",), command=("/does/not/exist",)))
    assert (attempt.answer, attempt.reason) == (Answer.LATER, "FileNotFoundError")


def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path):
    late = f"import time; time.sleep(1.5); open({str(tmp_path / 'child')!r}, 'w')"
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    attempt = carry(python(code, late, timeout_seconds=0.7))
    assert (attempt.answer, attempt.reason) == (Answer.LATER, "timeout")
    time.sleep(1.5)
    assert not (tmp_path / "child").exists()


def test_a_command_is_ended_at_once_when_the_daemon_stops():
    stopping = threading.Event()
    stopping.set()
    began = time.monotonic()
    assert Answer.LATER is carry(python("import time; time.sleep(60)"), stopping).answer
    assert time.monotonic() - began < 2


def test_what_a_command_says_goes_nowhere(capfd):
    carry(python("import sys; print('patient'); print('patient', file=sys.stderr)"))
    assert tuple(capfd.readouterr()) == ("", "")


# -- webhooks -----------------------------------------------------------------------------------------


def test_a_webhook_gets_the_event_by_post_with_its_name_and_id():
    with Webhook() as server:
        attempt = carry(web(f"{server.url}/path?x=1"))
    ((path, headers, body),) = server.requests
    assert (attempt.answer, path, body) == (Answer.TAKEN, "/path?x=1", BODY)
    assert (headers["X-Sorter-Event"], headers["X-Sorter-Event-Id"]) == ("trouble", "4711")
    assert headers["Content-Type"] == "application/json"
    assert "X-Sorter-Signature" not in headers


def test_a_secret_signs_timestamp_and_body(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("very secret\n")
    with Webhook() as server:
        carry(web(server.url, secret_file=secret))
    ((_, headers, body),) = server.requests
    text = headers["X-Sorter-Timestamp"].encode() + b"." + body
    assert (
        "sha256=" + hmac.new(b"very secret", text, hashlib.sha256).hexdigest()
        == headers["X-Sorter-Signature"]
    )
    assert abs(time.time() - int(headers["X-Sorter-Timestamp"])) < 60


def test_the_documented_example_of_a_signature_holds():
    expected = "sha256=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163"
    assert signature(b"secret", "1700000000", b"{}") == expected
    assert expected in (ROOT / "docs/events.md").read_text()


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_answers_that_may_change_are_tried_again(status):
    with Webhook([(status, {})]) as server:
        attempt = carry(web(server.url))
    assert (Answer.LATER, f"status {status}") == (attempt.answer, attempt.reason)


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_answers_that_will_not_change_are_final(status):
    with Webhook([(status, {})]) as server:
        assert Answer.NEVER is carry(web(server.url)).answer


def test_redirects_are_not_followed():
    with Webhook() as other, Webhook() as server:
        server.answers.append((307, {"Location": other.url}))
        assert Answer.NEVER is carry(web(server.url)).answer
    assert other.requests == []


def test_a_server_may_ask_to_be_left_alone():
    with Webhook([(503, {"Retry-After": "120"})]) as server:
        assert carry(web(server.url)).pause == 120.0


def test_a_server_that_is_not_there_is_tried_again():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert Answer.LATER is carry(web(f"http://127.0.0.1:{port}")).answer


def test_a_server_that_does_not_answer_is_left_after_the_timeout():
    with Webhook() as server:
        server.slow = 3.0
        began = time.monotonic()
        assert Answer.LATER is carry(web(server.url, timeout_seconds=0.3)).answer
        assert time.monotonic() - began < 2


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    alternative = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *make.split(), *alternative, *files], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with Webhook(tls=context) as server:
        attempt = carry(web(server.url))
    assert (attempt.answer, attempt.reason, server.requests) == (Answer.LATER, "SSLError", [])


def test_a_secret_that_goes_missing_later_is_tried_again(tmp_path):
    with Webhook() as server:
        attempt = carry(web(server.url, secret_file=tmp_path / "gone"))
    assert (attempt.answer, server.requests) == (Answer.LATER, [])


@pytest.mark.parametrize("text", [None, "", "\n"])
def test_a_secret_that_is_missing_or_empty_is_an_error_of_the_configuration(tmp_path, text):
    if text is not None:
        (tmp_path / "secret").write_text(text)
    with pytest.raises(ConfigError, match="secret file"):
        check_hook(web("https://example.org", secret_file=tmp_path / "secret"))
