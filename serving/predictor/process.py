"""One predictor process from start to end: listen, load, answer, drain, leave.

The paths, messages and metric names are KServe's, and tests hold them against its clients; its own server is not run,
since it declares a model ready that was never loaded and loads a client of Kubernetes to answer five GETs. The order:

1. ports are bound and probes answered, readiness says 503 with the reason;
2. a thread checks, loads and warms the bundle; if that fails the process stays, unready, and says why, or, where it has
   a termination log to write the reason to, ends with an error;
3. SIGTERM: readiness says no, requests are still answered for ``drain_s`` on connections that are told to close;
4. no more connections; what is in flight is finished; the prediction log is flushed; exit 0 within ``grace_s``.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import uvicorn
import uvloop
from prometheus_client import REGISTRY

from serving.errors import PlaceError, SlipwayError
from serving.predictor import grpc_health
from serving.predictor.cors import Cors
from serving.predictor.grpc_service import SERVICE, Servicer, handler
from serving.predictor.route import Front
from serving.predictor.settings import Settings
from serving.predictor.state import PredictorState, load
from serving.predictor.work import Workers

if TYPE_CHECKING:
    from serving.bundle.bundle import Bundle

LOG = logging.getLogger("slipway.predictor")
SWITCH_S = 0.0005  # the interpreter's default of 5 ms would be a small request's wait behind a large one
FLUSH_S = 5.0
TERMINATION_LETTERS = 1000  # of all containers together Kubernetes keeps 12 KiB
KEEP_ALIVE_S = 65  # as KServe's server: longer than a gateway keeps a connection that it does not use


class HttpServer(uvicorn.Server):
    """uvicorn that leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(settings: Settings, opener: "Callable[[], Bundle]") -> int:
    """Serve until told to end; the exit code.

    Raises:
        PlaceError: a port is taken.
    """
    sys.setswitchinterval(SWITCH_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, opener))


async def _serve(settings: Settings, opener: "Callable[[], Bundle]") -> int:
    state = PredictorState(settings)
    workers = Workers(settings, state.metrics)
    with contextlib.ExitStack() as opened:
        ports = dict.fromkeys((settings.http_port, settings.health_port or settings.http_port))
        listening = [opened.enter_context(contextlib.closing(_bind(settings.host, port))) for port in ports]
        http = _http(state, workers)
        remote = await _grpc(state, workers) if settings.enable_grpc else None
        REGISTRY.register(state.metrics)
        loop, told = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

        def end(code: int = 0) -> None:
            if not told.done():
                told.set_result(code)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end)
        arguments = (state, opener, partial(loop.call_soon_threadsafe, end))
        threading.Thread(target=_load, args=arguments, name="load", daemon=True).start()
        LOG.info("listening", extra={"http_port": settings.http_port, "grpc_port": settings.grpc_port})
        serving = asyncio.create_task(http.serve(sockets=listening))
        await asyncio.wait([serving, told], return_when=asyncio.FIRST_COMPLETED)
        await _end(state, http, serving, remote)
    workers.close()
    return told.result() if told.done() else 0


async def _end(state: PredictorState, http: HttpServer, serving: "asyncio.Task[None]", remote: Any) -> None:
    settings = state.settings
    state.drain()
    _end_at_the_latest(settings.grace_s)
    LOG.info("draining", extra={"in_flight": state.metrics.in_flight, "drain_s": settings.drain_s})
    if state.served is not None:
        await asyncio.sleep(min(settings.drain_s, settings.grace_s))
    left = max(0.1, (settings.grace_s - settings.drain_s) / 2)
    http.config.timeout_graceful_shutdown = max(1, int(left))  # whole seconds, says uvicorn
    http.should_exit = True
    stopping = asyncio.create_task(remote.stop(grace=left)) if remote else None
    await asyncio.sleep(0)
    await serving
    if stopping:
        await stopping
    if state.log is not None:
        await asyncio.to_thread(state.log.close, min(FLUSH_S, left))
    LOG.info("ended", extra={"in_flight": state.metrics.in_flight})


def _end_at_the_latest(grace_s: float) -> None:
    """Leave when the grace is over, even if a thread is still at work: the kubelet would kill the process anyway."""

    def leave() -> None:
        LOG.error("ended with work in hand", extra={"grace_s": grace_s})
        os._exit(1)

    timer = threading.Timer(grace_s, leave)
    timer.daemon = True
    timer.start()


def _load(state: PredictorState, opener: "Callable[[], Bundle]", end: Callable[[int], object]) -> None:
    """Load the model; without one the process stays, so that a person can ask it why, or a termination log is told."""
    try:
        served = load(state, opener)
        LOG.info("ready", extra={"digest": served.bundle.digest, "load_s": round(state.metrics.load_seconds or 0, 3)})
    except Exception as error:
        LOG.exception("the bundle was not loaded", extra={"bundle": str(state.settings.bundle)})
        if state.settings.termination_log is not None:
            state.settings.termination_log.write_text(state.reason[:TERMINATION_LETTERS])
            end(error.exit_code if isinstance(error, SlipwayError) else 1)
    finally:
        settle()


def settle() -> None:
    """What was loaded is there for good: the collector never walks through it, which would be a long request's wait."""
    gc.freeze()
    gc.enable()


def _http(state: PredictorState, workers: Workers) -> HttpServer:
    front, origins = Front(state, workers), state.settings.cors_origins
    config = uvicorn.Config(
        Cors(front, origins) if origins else front,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, int(state.settings.grace_s)),
    )
    return HttpServer(config)


async def _grpc(state: PredictorState, workers: Workers) -> Any:
    settings = state.settings
    remote = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # else a second process would share the port in silence
        ]
    )
    health = grpc_health.handler(state, [SERVICE.full_name])
    remote.add_generic_rpc_handlers((handler(Servicer(state, workers)), health))
    try:
        bound = remote.add_insecure_port(f"{settings.host}:{settings.grpc_port}")
    except RuntimeError:
        bound = 0
    if not bound:
        raise _taken(settings.host, settings.grpc_port)
    await remote.start()
    return remote


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise _taken(host, port) from error
    listening.setblocking(False)
    return listening


def _taken(host: str, port: int) -> PlaceError:
    return PlaceError(
        f"cannot listen on {host}:{port}: the port is taken; choose another with --http_port or --grpc_port"
    )
