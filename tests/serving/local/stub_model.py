"""A model server to break: as much of KServe's protocol as the supervisor and Envoy look at, quickly up.

How it behaves is read from ``behaviour.json`` in its bundle directory, at its start and again at every request:
``crash`` (last words) and ``code``, ``never_ready``, ``refuses``, ``exit_on_predict``, ``errors``, ``delay_s``,
``hold`` (no answer until the file says otherwise).
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path


class StubModel(asyncio.Protocol):
    """Answers one HTTP/1.1 request after another on a connection that stays open."""

    def __init__(self, model: str, bundle: Path) -> None:
        self.model, self.behaviour_file = model, bundle / "behaviour.json"
        self.buffer = b""
        self.count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            length = 0
            if (at := head.find(b"content-length:")) >= 0:
                length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self.buffer) < end + 4 + length:
                return
            line = self.buffer[: self.buffer.find(b"\r\n")]
            self.buffer = self.buffer[end + 4 + length :]
            self.answer(line.decode().split(" ")[1])

    def answer(self, path: str) -> None:
        behaviour = json.loads(self.behaviour_file.read_bytes()) if self.behaviour_file.exists() else {}
        if path.endswith("/ready") and (told := behaviour.get("refuses")):
            self.send(503, json.dumps({"error": told, "code": "load_failed"}).encode())
        elif path == f"/v2/models/{self.model}/ready":
            ready = not behaviour.get("never_ready")
            self.send(200 if ready else 503, b'{"ready":true}' if ready else b'{"error":"loading"}')
        elif behaviour.get("exit_on_predict"):
            os._exit(9)
        elif behaviour.get("errors"):
            self.send(500, b'{"error":"broken"}')
        elif behaviour.get("hold"):
            asyncio.get_running_loop().call_later(0.02, self.answer, path)
        elif delay := behaviour.get("delay_s"):
            asyncio.get_running_loop().call_later(delay, self.send, 200, b'{"predictions":[1.0]}')
        else:
            self.send(200, b'{"predictions":[1.0]}')

    def send(self, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


def run_stub(model: str, bundle: Path, port: int) -> None:
    behaviour = json.loads((bundle / "behaviour.json").read_bytes()) if (bundle / "behaviour.json").exists() else {}
    if words := behaviour.get("crash"):
        print(words, file=sys.stderr, flush=True)
        sys.exit(behaviour.get("code", 1))

    async def run() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        server = await loop.create_server(lambda: StubModel(model, bundle), "127.0.0.1", port)
        print("loading the model", flush=True)
        await stop.wait()
        server.close()

    asyncio.run(run())


if __name__ == "__main__":
    run_stub(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
