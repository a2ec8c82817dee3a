"""A server that streams chat completions and caches prefixes, on a free port of this machine.

    with serve_stream() as server:
        ...
        assert server.asked[0]["model"] == "base"

It waits for every character of a request that no earlier request of the same model began with, so
that what is cached is seen in the time to the first token, as on a real one.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from genpi_plugin.reading.prefix import common_prefix

ANSWER = ("one", " two", " three", " four", " five", " six", " seven", " eight")


class StreamingServer:
    """What it was asked, and how it is to behave.

    `asked` are the bodies of all requests; `answers` the pieces of every answer.
    """

    def __init__(
        self,
        models: Sequence[str],
        streams: bool,
        caches: bool,
        tells_usage: bool,
        answer: Sequence[str],
        seconds_per_character: float,
        seconds_per_token: float,
    ) -> None:
        self.models = list(models)
        self.streams = streams
        self.caches = caches
        self.tells_usage = tells_usage
        self.answer = list(answer)
        self.seconds_per_character = seconds_per_character
        self.seconds_per_token = seconds_per_token
        self.asked: list[dict[str, Any]] = []
        self._read: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def new_characters(self, body: dict[str, Any]) -> int:
        """How much of a request has to be read; it is cached from then on."""
        text = json.dumps(body["messages"])
        with self._lock:
            self.asked.append(body)
            earlier = self._read.setdefault(body["model"], [])
            known = max((len(common_prefix([text, one])) for one in earlier), default=0)
            earlier.append(text)
        return len(text) - (known if self.caches else 0)


@contextmanager
def serve_stream(
    models: Sequence[str] = ("base", "adapter"),
    streams: bool = True,
    caches: bool = True,
    tells_usage: bool = True,
    answer: Sequence[str] = ANSWER,
    seconds_per_character: float = 0.0,
    seconds_per_token: float = 0.0,
) -> Iterator[StreamingServer]:
    """Run a `StreamingServer`.

    Args:
        streams: False: answers with one JSON object, whatever is asked for.
        answer: the pieces of every answer, a token each.
    """
    server = StreamingServer(
        models, streams, caches, tells_usage, answer, seconds_per_character, seconds_per_token
    )
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


def _handler(server: StreamingServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = [
                {"id": name, "object": "model", "created": 0, "owned_by": "test"}
                for name in server.models
            ]
            self._send(200, {"object": "list", "data": data})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body["model"] not in server.models:
                message = f"The model `{body['model']}` does not exist."
                self._send(404, {"error": {"message": message, "code": "model_not_found"}})
                return
            new = server.new_characters(body)
            time.sleep(new * server.seconds_per_character)
            pieces = server.answer[: body["max_tokens"]]
            if not server.streams:
                message = {"role": "assistant", "content": "".join(pieces)}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                self._send(200, {"id": "1", "object": "chat.completion", "created": 0,
                                 "model": body["model"], "choices": [choice]})  # fmt: skip
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self._event(body, [{"index": 0, "delta": {"role": "assistant"}}])
            for place, piece in enumerate(pieces):
                time.sleep(server.seconds_per_token * (place > 0))
                self._event(body, [{"index": 0, "delta": {"content": piece}}])
            if server.tells_usage and body.get("stream_options", {}).get("include_usage"):
                words = len(json.dumps(body["messages"]).split())
                self._event(body, [], {"prompt_tokens": words, "completion_tokens": len(pieces),
                                       "total_tokens": words + len(pieces)})  # fmt: skip
            self.wfile.write(b"data: [DONE]\n\n")

        def _event(
            self, body: dict[str, Any], choices: list[dict[str, Any]], usage: Any = None
        ) -> None:
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0,
                     "model": body["model"], "choices": choices, "usage": usage}  # fmt: skip
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.flush()

        def _send(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Not on the terminal."""

    return Handler
