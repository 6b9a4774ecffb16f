"""Prints the CloudEvents that it gets: in place of Knative's ``event_display``, where no image can be pulled.

It runs in a pod of its own, of nothing but Python.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Display(BaseHTTPRequestHandler):
    """Answers 200 to every event, after its attributes and its data were printed."""

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("content-length", 0)))
        print("cloudevents.Event", flush=True)
        for name, value in self.headers.items():
            if name.lower().startswith("ce-"):
                print(f"  {name[3:].lower()}: {value}", flush=True)
        print(f"Data,\n  {data.decode(errors='replace')}", flush=True)
        self.send_response(200)
        self.end_headers()


if __name__ == "__main__":
    print("waiting for events", file=sys.stderr, flush=True)
    ThreadingHTTPServer(("", 8080), Display).serve_forever()
