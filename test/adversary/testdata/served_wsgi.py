"""A site behind the standard library's WSGI server, which decodes a path once.

It says which route programs choose by PATH_INFO, and by the request line.
"""
import http.cookies
import json
import ntpath
import posixpath
import re
import socketserver
import sys
import urllib.parse
import wsgiref.simple_server


def route(path):
    found = re.match(r"/(account|transfer|assets)(?:/|\Z)", path)
    if found:
        return found[1]
    return "health" if path == "/health" else "public"


def servlet(target):
    """The path of Servlet 6, 3.5.2: parameters off, then decoded, then cleaned."""
    path = urllib.parse.urldefrag(target.split("?")[0])[0]
    segments = [urllib.parse.unquote(s.split(";")[0]) for s in path.split("/")[1:]]
    kept = []
    for segment in segments:
        if segment == "..":
            kept = kept[:-1]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept)


def drain(environ):
    """Reads the body, which a connection must not be closed upon."""
    body = environ["wsgi.input"]
    if environ.get("HTTP_TRANSFER_ENCODING") != "chunked":
        body.read(int(environ.get("CONTENT_LENGTH") or 0))
        return
    while size := int(body.readline(), 16):
        body.read(size + 2)
    while body.readline().strip():
        pass


def served(environ, start_response):
    drain(environ)
    path = environ["PATH_INFO"]
    target = environ["REQUEST_LINE"].split()[1]
    routes = {
        "PATH_INFO": path,
        "PATH_INFO up to a NUL": path.split("\0")[0],
        "PATH_INFO decoded again": urllib.parse.unquote(path),
        "posixpath.normpath": posixpath.normpath(path),
        "ntpath.normpath": ntpath.normpath(path).replace("\\", "/"),
        "request line": target.split("?")[0],
        "urlsplit": urllib.parse.urlsplit(target).path,
        "urlparse": urllib.parse.urlparse(target).path,
        "urlsplit(unquote)": urllib.parse.urlsplit(urllib.parse.unquote(target)).path,
        "unquote(urlparse)": urllib.parse.unquote(urllib.parse.urlparse(target).path),
        "servlet": servlet(target),
    }
    vouched = {k: v for k, v in environ.items() if k.startswith("HTTP_X_VERIFIED_")}
    cookies = http.cookies.SimpleCookie(environ.get("HTTP_COOKIE", ""))
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({
        "routes": {name: route(p) for name, p in routes.items()},
        "headers": vouched,
        "cookies": cookies.output(),
    }).encode()]


class Handler(wsgiref.simple_server.WSGIRequestHandler):
    def get_environ(self):
        return {**super().get_environ(), "REQUEST_LINE": self.requestline}

    def log_message(self, *args):
        pass


class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True
    request_queue_size = 128


with wsgiref.simple_server.make_server("127.0.0.1", int(sys.argv[1]), served, Server, Handler) as server:
    server.serve_forever()
