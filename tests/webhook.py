"""A web server on this machine that remembers what it is sent, for tests of hooks."""

import http.server
import threading
import time


class Webhook:
    """``answers`` are (status, headers) for the requests to come; then 200."""

    def __init__(self, answers=(), tls=None):
        self.requests = []  # (path, headers, body)
        self.answers = list(answers)
        self.slow = 0.0
        outer = self

        class Answering(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((self.path, dict(self.headers), body))
                time.sleep(outer.slow)
                status, headers = outer.answers.pop(0) if outer.answers else (200, {})
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()

            def log_message(self, *_):
                """Silent."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._scheme = "http"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._server.handle_error = lambda *_: None  # a client that hangs up
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self):
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
