"""``python -m tests.clients.run --local ADDRESS --route ADDRESS ...``: what foreign clients get of one model.

Each of them asks the endpoint of this machine and the route of a cluster for the same row; a Markdown table is printed,
in which 187,684 is a prediction. Programs that are not there are left out and said to be.
"""

import argparse
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.projects import project as projects
from pipelines.housing import market
from serving.polling import await_true
from tests.root import ROOT
from tests.serving.predictor.support import free_port

HERE = Path(__file__).parent
LOADS = 500  # requests of a load tool
LISTENS_S = 10.0
NGINX = """
daemon off; pid {place}/pid; error_log {place}/error; events {{}}
http {{
  access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fast;
  uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
  upstream {host} {{ server {address}; }}
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{host}; }} }}
}}
"""


def a_row() -> dict[str, Any]:
    """A sale of the housing project without a missing cell."""
    contract = projects.load(ROOT / "pipelines/housing/project.yaml").contract
    rows = market.sales("recession", range(27, 28), 7, turn=24, dirty=0.0).to_dicts()
    return next({name: row[name] for name in contract.names} for row in rows if None not in row.values())


def by_python(python: str, program: str, at: tuple[str, str], model: str, row: str) -> dict[str, str]:
    """What *program* told, run by *python*."""
    done = subprocess.run(
        [python, str(HERE / program), *at, model, row], capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode:
        return {"": f"ended with {done.returncode}: {done.stderr.strip().splitlines()[-1][:90]}"}
    told: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return told


def ab(at: tuple[str, str], path: str, body: Path) -> str:
    address, host = at
    how = ("-q", "-n", str(LOADS), "-c", "8", "-T", "application/json", "-H", f"Host: {host}")
    said = _said("ab", *how, "-p", str(body), f"http://{address}{path}")
    complete, bad = _number(r"Complete requests:\s+(\d+)", said), _number(r"Non-2xx responses:\s+(\d+)", said)
    return f"{complete - bad:,} of {LOADS} answered" if complete else said.strip().splitlines()[-1][:90]


def hey(at: tuple[str, str], path: str, body: Path) -> str:
    address, host = at
    how = ("-n", str(LOADS), "-c", "10", "-m", "POST", "-T", "application/json", "-host", host)
    answered = _number(r"\[200\]\s+(\d+) responses", _said("hey", *how, "-D", str(body), f"http://{address}{path}"))
    return f"{answered:,} of {LOADS} answered"


def nginx(at: tuple[str, str], path: str, body: Path) -> str:
    """The answer through an nginx whose ``proxy_pass`` has no other setting: HTTP/1.0, and the Host of its upstream."""
    with proxied(at) as port:
        how = ("-sS", "-m", "20", "-H", "Content-Type: application/json", "--data-binary", f"@{body}")
        said = _said("curl", *how, f"http://127.0.0.1:{port}{path}")
    try:
        return f"{float(json.loads(said)['predictions'][0]):,.0f}"
    except (ValueError, KeyError):
        return said.strip()[:90]


@contextmanager
def proxied(at: tuple[str, str]) -> Iterator[int]:
    address, host = at
    port = free_port()
    with tempfile.TemporaryDirectory() as place:
        settings = Path(place) / "nginx.conf"
        settings.write_text(NGINX.format(place=place, host=host, address=address, port=port))
        with subprocess.Popen(["nginx", "-c", str(settings), "-e", f"{place}/error"]) as process:
            try:
                if not await_true(lambda: _listens(port), LISTENS_S, 0.05):
                    raise SystemExit("nginx does not listen")
                yield port
            finally:
                process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def table(options: argparse.Namespace) -> str:
    """One line for each client and way of asking."""
    ways = {"local": (options.local, "localhost"), "route": (options.route, options.host)}
    models, row = {"local": options.local_model, "route": options.model}, json.dumps(options.row)
    lines: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as place:
        body = Path(place) / "body.json"
        body.write_text(json.dumps({"instances": [options.row]}))
        for way, at in ways.items():
            for name, python, program in programs(options):
                for call, got in by_python(python, program, at, models[way], row).items():
                    lines.setdefault(f"{name}, {call}", {})[way] = got
            for tool in (ab, hey, nginx):
                there = shutil.which(tool.__name__) is not None
                got = tool(at, f"/v1/models/{models[way]}:predict", body) if there else "not installed here"
                lines.setdefault(NAMES[tool.__name__], {})[way] = got
    head = ["| client | endpoint of `slipway serve` | route of the cluster |", "|---|---|---|"]
    return "\n".join(head + [f"| {name} | {got['local']} | {got.get('route', '')} |" for name, got in lines.items()])


NAMES = {
    "ab": "`ab -T application/json`",
    "hey": "`hey -T application/json`",
    "nginx": "nginx with `proxy_pass` alone",
}


def programs(options: argparse.Namespace) -> list[tuple[str, str, str]]:
    """Name, Python and program of each client that there is an environment of."""
    found = [("kserve", sys.executable, "kserve_client.py")]
    found += [("tritonclient", options.triton, "triton_client.py")] if options.triton else []
    return found + ([("mlserver", options.mlserver, "mlserver_client.py")] if options.mlserver else [])


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.stdout + done.stderr


def _number(expression: str, text: str) -> int:
    found = re.search(expression, text)
    return int(found[1]) if found else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--local", default="127.0.0.1:8080", help="endpoint of `slipway serve`")
    parser.add_argument("--route", default="127.0.0.1:30080", help="gateway of the cluster")
    parser.add_argument("--model", default="housing", help="on the cluster")
    parser.add_argument("--local-model", help="here, where it has another name")
    parser.add_argument("--host", help="of the model at the gateway")
    parser.add_argument("--triton", help="Python with tritonclient")
    parser.add_argument("--mlserver", help="Python with mlserver")
    options = parser.parse_args()
    options.host = options.host or f"{options.model}.models.example.com"
    options.local_model, options.row = options.local_model or options.model, a_row()
    print(table(options))


if __name__ == "__main__":
    main()
