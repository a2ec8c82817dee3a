"""A scripted server that speaks OpenAI's chat completions, on a free port of this machine.

    with serve(lambda messages: "You said: " + messages[-1]["content"]) as server:
        engine = OpenAIEngine("tiny", base_url=server.url)
        ...
        assert server.count == 1

In a test file, `from tests.synth.server import serve`; there is no fixture to import, a `with` is
as short.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reply:
    """A scripted answer with more to it than its text: more fields of its message, its choice and
    the whole reply, and another count of tokens; {} for a server that does not count."""

    text: str | list[Any] | None
    finish: str | None = "stop"
    message: dict[str, Any] = field(default_factory=dict)
    choice: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, Any] | None = None
    whole: dict[str, Any] = field(default_factory=dict)


@dataclass
class Failure:
    """An HTTP error to answer with: `body` as JSON, or `raw` as it is. Status 0 breaks off the
    connection. `hang` is how many seconds pass before, `trickle` for how many more the body comes
    a blank at a time."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    hang: float = 0.0
    trickle: float = 0.0


class _Http(ThreadingHTTPServer):
    # As many may knock at once as a run has requests; the default of 5 makes them wait a second.
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class ScriptedServer:
    """What the server was asked, and what it is to answer.

    `requests` are the bodies of the chat requests that were answered, `keys` their Authorization
    headers; `headers` (names in lower case) and `queries` are those of every chat request;
    `listed` are more fields of a model in the list, `list_failures` statuses with which it is
    refused first. `refused` counts the failures
    sent, and `most_at_once` is the highest number of requests that were under way together.
    `failures` are used up first, one a request; `always` (when set) answers every request, and
    `fault` gives a failure for those it chooses. `answer_body` answers a request's whole body, in
    place of `answer`. `root` is the path before `/chat/completions`.
    """

    def __init__(
        self,
        answer: Callable[[list[dict[str, str]]], str | Reply | None],
        models: Sequence[str] | None = ("tiny",),
        delay: float = 0.0,
        port: int = 0,
    ) -> None:
        self.answer = answer
        self.models = models
        self.delay = delay
        self.failures: list[Failure] = []
        self.always: Failure | None = None
        self.answer_body: Callable[[dict[str, Any]], Reply] | None = None
        self.fault: Callable[[list[dict[str, str]]], Failure | None] | None = None
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.headers: list[dict[str, str]] = []
        self.queries: list[str] = []
        self.root = "/v1"
        self.listed: dict[str, dict[str, Any]] = {}
        self.list_failures: list[int] = []
        self.refused = 0
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._http = _Http(("127.0.0.1", port), _handler(self))
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}{self.root}"

    @property
    def count(self) -> int:
        """How many chat requests were answered."""
        return len(self.requests)

    def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._at_once:
            time.sleep(0.005)

    def handle(self, body: dict[str, Any], key: str | None) -> Failure | dict[str, Any]:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            failure = self.failures.pop(0) if self.failures else self.always
            if failure is None and self.fault is not None:
                failure = self.fault(body["messages"])
            if failure is None:
                self.requests.append(body)
                self.keys.append(key)
            else:
                self.refused += 1
        try:
            if self.delay:
                time.sleep(self.delay)
            if failure is not None:
                time.sleep(failure.hang)
                return failure
            if self.answer_body is not None:
                return _completion(body, self.answer_body(body))
            return _completion(body, self.answer(body["messages"]))
        finally:
            with self._lock:
                self._at_once -= 1


@contextmanager
def serve(
    answer: Callable[[list[dict[str, str]]], str | Reply | None],
    models: Sequence[str] | None = ("tiny",),
    delay: float = 0.0,
) -> Iterator[ScriptedServer]:
    """Run a `ScriptedServer`.

    Args:
        answer: the messages of a request -> the text that answers it.
        models: what `/v1/models` lists, and the only ones that are known; None: any name goes,
            and there is no list.
        delay: seconds before each answer.
    """
    server = ScriptedServer(answer, models, delay)
    thread = threading.Thread(target=server._http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server._http.shutdown()
        server._http.server_close()
        thread.join()


class ServerProcess:
    """A `ScriptedServer` in a process of its own, that can be killed, and started again on its
    port. `answer` is a function of a module."""

    def __init__(
        self, answer: Callable[[list[dict[str, str]]], str | Reply | None], delay: float = 0.0
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._arguments = (answer, delay, self.port)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it is there; it counts from 0."""
        context = multiprocessing.get_context("spawn")
        self._count = context.Value("i", 0)
        self._process = context.Process(
            target=_serve_apart, args=(*self._arguments, self._count), daemon=True
        )
        self._process.start()
        while not _listens(self.port):
            time.sleep(0.02)

    @property
    def count(self) -> int:
        """How many requests it was asked."""
        return int(self._count.value)

    def kill(self) -> None:
        """As `kill -9` does."""
        self._process.kill()
        self._process.join()


def _serve_apart(answer: Any, delay: float, port: int, count: Any) -> None:
    def counted(messages: list[dict[str, str]]) -> Any:
        with count.get_lock():
            count.value += 1
        return answer(messages)

    ScriptedServer(counted, None, delay, port)._http.serve_forever(0.01)


def _listens(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


def _completion(body: dict[str, Any], answer: str | Reply | None) -> dict[str, Any]:
    reply = answer if isinstance(answer, Reply) else Reply(answer)
    words = sum(len(message["content"].split()) for message in body["messages"])
    written = len(reply.text.split()) if isinstance(reply.text, str) else 0
    counted = {
        "prompt_tokens": words,
        "completion_tokens": written,
        "total_tokens": words + written,
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply.text, **reply.message},
                "finish_reason": reply.finish,
                **reply.choice,
            }
        ],
        "usage": counted if reply.usage is None else reply.usage,
        **reply.whole,
    }


def _handler(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if server.list_failures:
                self._send(server.list_failures.pop(0), {"error": {"message": "Not now"}})
                return
            if self.path != f"{server.root}/models" or server.models is None:
                self._send(404, {"detail": "Not Found"})
                return
            plain = {"object": "model", "created": 0, "owned_by": "test"}
            data = [{"id": name, **plain, **server.listed.get(name, {})} for name in server.models]
            self._send(200, {"object": "list", "data": data})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            path, _, query = self.path.partition("?")
            server.queries.append(query)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            if path != f"{server.root}/chat/completions":
                self._send(404, {"detail": "Not Found"})
                return
            if server.models is not None and body["model"] not in server.models:
                message = f"The model `{body['model']}` does not exist."
                self._send(404, {"error": {"message": message, "code": "model_not_found"}})
                return
            answer = server.handle(body, self.headers.get("Authorization"))
            if isinstance(answer, dict):
                self._send(200, answer)
            elif answer.status:
                self._send(answer.status, answer.body, answer.headers, answer.raw, answer.trickle)
            else:
                # With nothing to linger for, the close is a reset.
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                self.connection.close()
                self.close_connection = True

        def _send(
            self,
            status: int,
            body: dict[str, Any],
            headers: dict[str, str] | None = None,
            raw: bytes | None = None,
            trickle: float = 0.0,
        ) -> None:
            data = json.dumps(body).encode() if raw is None else raw
            blanks = int(trickle / 0.1)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data) + blanks))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            for _ in range(blanks):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.1)
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Not on the terminal."""

    return Handler


@contextmanager
def transformers_serve(folder: Path, seconds: float = 120) -> Iterator[str]:
    """Run the real `transformers serve` on a model folder; gives the base URL.

    It takes 10 to 30 seconds to start: for tests that are marked slow.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).parent / "transformers", "serve", folder]
    options = ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    process = subprocess.Popen(
        [*map(str, command), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + seconds
        while not _healthy(port):
            assert process.poll() is None, f"transformers serve ended with {process.returncode}"
            assert time.monotonic() < until, f"transformers serve did not start in {seconds} s"
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
            return reply.status == 200
    except OSError:
        return False
