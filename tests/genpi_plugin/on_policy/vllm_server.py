"""A server that behaves as vLLM's does, on a free port of this machine, with a tiny model.

    with serving() as server:
        ... server.url, server.asked, server.loaded

It really answers: the base model with the adapter in the folder that it was told to load, by whole
forward passes. As vLLM's prefix cache does, it remembers by an adapter's name and path: weights
that come under a known name and path are not seen.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from tests.tiny import make_model


class Refusal(Exception):
    def __init__(self, status: int, body: Any) -> None:
        self.status, self.body = status, body


def error(status: int, message: str) -> Refusal:
    return Refusal(status, {"error": {"message": message, "code": status}})


class VllmServer:
    """`asked` are the bodies of all requests for answers, `loaded` the adapters there are by name,
    `names` all that there were; the other attributes are how it was started, and its faults."""

    def __init__(self) -> None:
        self.url = ""
        self.model = make_model()
        self.asked: list[dict[str, Any]] = []
        self.loaded: dict[str, str] = {}
        self.names: list[str] = []
        self.keys: set[str | None] = set()
        self.updating = True
        self.lora = True
        self.max_rank = 16
        self.max_model_len = 2048
        self.api_key: str | None = None
        self.tells_ids = True
        self.cuts: int | None = None
        self.own_stops: set[int] = set()
        self.goes_on = False
        self.leaves_adapter_out = False
        self._remembered: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def get(self, path: str) -> Any:
        if path != "/v1/models":
            raise Refusal(404, {"detail": "Not Found"})
        plain = {"object": "model", "created": 0, "owned_by": "vllm"}
        base = {"id": "tiny", **plain, "root": "tiny", "max_model_len": self.max_model_len}
        adapters = [{"id": name, **plain, "parent": "tiny"} for name in self.loaded]
        return {"object": "list", "data": [base, *adapters]}

    def post(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/v1/completions":
            return self._completion(body)
        if path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter") and self.updating:
            return self._load(**body) if path.startswith("/v1/load") else self._unload(**body)
        raise Refusal(404, {"detail": "Not Found"})

    def _load(self, lora_name: str, lora_path: str) -> str:
        if not self.lora:
            raise error(500, "Call to add_lora method failed: LoRA is not enabled.")
        if lora_name in self.loaded:
            raise error(400, f"The lora adapter '{lora_name}' has already been loaded.")
        config = Path(lora_path) / "adapter_config.json"
        if not config.is_file():
            raise error(404, f"Loading lora {lora_name} failed: No adapter found for <path>")
        rank = json.loads(config.read_text())["r"]
        if rank > self.max_rank:
            raise error(500, f"LoRA rank {rank} is greater than max_lora_rank {self.max_rank}.")
        self._remembered.setdefault((lora_name, lora_path), self._with_adapter(lora_path))
        self.loaded[lora_name] = lora_path
        self.names.append(lora_name)
        return f"Success: LoRA adapter '{lora_name}' added successfully."

    def _with_adapter(self, path: str) -> Any:
        model = copy.deepcopy(self.model)
        return model if self.leaves_adapter_out else PeftModel.from_pretrained(model, path).eval()

    def _unload(self, lora_name: str) -> str:
        if self.loaded.pop(lora_name, None) is None:
            raise error(404, f"The lora adapter '{lora_name}' cannot be found.")
        return "Success"

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self.asked.append(body)
            if body["model"] not in self.loaded:
                raise error(404, f"The model `{body['model']}` does not exist.")
            request = body["prompt"][-self.cuts :] if self.cuts else body["prompt"]
            model = self._remembered[body["model"], self.loaded[body["model"]]]
            ids, logprobs = self._answer(model, request, body)
        told: dict[str, Any] = {"prompt_token_ids": request, "token_ids": ids}
        if body.get("logprobs") is not None:
            told["logprobs"] = {"token_logprobs": logprobs}
        if self.goes_on:
            ids[0] = body["stop_token_ids"][0]
        choice = {"index": 0, "text": "", "finish_reason": "stop"}
        plain = {"id": "1", "object": "text_completion", "created": 0, "model": body["model"]}
        return {**plain, "choices": [{**choice, **(told if self.tells_ids else {})}]}

    def _answer(
        self, model: Any, request: list[int], body: dict[str, Any]
    ) -> tuple[list[int], list[float]]:
        draws = torch.Generator().manual_seed(body["seed"])
        assert body["ignore_eos"], "else the model's own end counts, too"
        ends = {*body["stop_token_ids"], *self.own_stops}
        room = self.max_model_len - len(request)
        ids: list[int] = []
        logprobs: list[float] = []
        while len(ids) < min(body["max_tokens"], room) and not (ids and ids[-1] in ends):
            with torch.no_grad():
                rows = torch.tensor([[*request, *ids]])
                logits = model(input_ids=rows, use_cache=False).logits[0, -1]
            token = int(logits.argmax())
            if body["temperature"]:
                chances = (logits / body["temperature"]).softmax(-1)
                token = int(torch.multinomial(chances, 1, generator=draws))
            ids.append(token)
            logprobs.append(float(logits.log_softmax(-1)[token]))
        return ids, logprobs


@contextmanager
def serving() -> Iterator[VllmServer]:
    """Run a `VllmServer`."""
    server = VllmServer()
    http = _Http(("127.0.0.1", 0), _handler(server))
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def _handler(server: VllmServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply(lambda: server.get(self.path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._reply(lambda: server.post(self.path, body))

        def _reply(self, act: Any) -> None:
            try:
                server.keys.add(self.headers.get("Authorization"))
                if server.api_key and self.headers["Authorization"] != f"Bearer {server.api_key}":
                    raise Refusal(401, {"error": "Unauthorized"})
                status, body = 200, act()
            except Refusal as refusal:
                status, body = refusal.status, refusal.body
            data = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            kind = "text/plain" if isinstance(body, str) else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Not on the terminal."""

    return Handler
