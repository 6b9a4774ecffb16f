"""A stub model that predicts and writes the prediction log of a model server.

Its ``behaviour.json`` knows, besides what ``stub_model`` knows: ``values`` (predictions, drawn by request id),
``share`` (of requests that ``errors``, ``invalid`` and ``delay_s`` concern), ``invalid`` (a null for a number, with
status 200) and ``refuses_all`` (a 400 for every request).
"""

import asyncio
import json
import signal
import sys
import time
import zlib
from datetime import UTC, datetime
from pathlib import Path

from serving.wire import KEY_HEADER, unit
from tests.serving.local.stub_model import StubModel


class LoggingStub(StubModel):
    """A stub that predicts ``values`` and writes the prediction log of a model server."""

    def __init__(self, model: str, bundle: Path, log_dir: Path) -> None:
        super().__init__(model, bundle)
        self.log = log_dir / "predictions.jsonl"

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            first, *lines = self.buffer[:end].decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
            length = int(headers.get("content-length", 0))
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            self.route(first.split(" ")[1], headers)

    def route(self, path: str, headers: dict[str, str]) -> None:
        if "predict" not in path:
            self.answer(path)
            return
        behaviour = json.loads(self.behaviour_file.read_bytes())
        chance = zlib.crc32(headers.get("x-request-id", "").encode()) % 1000
        struck = chance < 1000 * behaviour.get("share", 1.0)
        if behaviour.get("errors") and struck:
            self.send(500, b'{"error":"broken"}')
            return
        if behaviour.get("refuses_all"):
            self.send(400, b'{"error":"column missing"}')
            return
        values = behaviour.get("values", [50.0, 150.0, 250.0, 350.0])
        value = None if behaviour.get("invalid") and struck else values[chance % len(values)]
        self.write_down(headers, value)
        body = json.dumps({"predictions": [value]}).encode()
        delay = behaviour.get("delay_s", 0) if struck else 0
        if delay:
            asyncio.get_running_loop().call_later(delay, self.send, 200, body)
        else:
            self.send(200, body)

    def write_down(self, headers: dict[str, str], value: float | None) -> None:
        line = {
            "request_id": headers.get("x-request-id", ""),
            "row": 0,
            "time": datetime.fromtimestamp(time.time(), UTC).isoformat(),
            "prediction": value,
            "epoch": headers.get("x-epoch", ""),
        }
        if key := headers.get(KEY_HEADER):
            line["unit"] = unit(headers["x-epoch"].encode(), key.encode()).hex()
        with self.log.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")


def run_stub(model: str, bundle: Path, port: int, log_dir: Path) -> None:
    async def run() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        server = await loop.create_server(lambda: LoggingStub(model, bundle, log_dir), "127.0.0.1", port)
        await stop.wait()
        server.close()

    asyncio.run(run())


if __name__ == "__main__":
    run_stub(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
