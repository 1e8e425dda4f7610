"""A server on this machine that behaves as the Hugging Face hub and figshare do."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {size}\n"
CHALLENGE = (202, [("x-amzn-waf-action", "challenge")], b"")
FORBIDDEN = (403, [("Content-Type", "text/html")], b"<html><body>403 Forbidden</body></html>")


class Hub:
    """Repositories as ``{"owner/name": {path: bytes}}``; files of ``lfs`` suffixes are redirected to a storage.

    A file may be a memoryview of a mapped file.

    Commits follow from the content, unless ``commits`` names them. ``answers`` maps the path of a request to (status,
    headers, body), ``once`` that of the next request alone. ``faults`` maps a path to what goes wrong once: ``"cut"``
    (the storage breaks the connection halfway), ``"hang"`` (it stops halfway for a second before), ``"pointer"`` (the
    text of a Git LFS pointer instead of the file), ``"short"`` (a file cut off without an error).
    """

    lfs = (".safetensors", ".bin", ".pt", ".torch", ".pkl", ".tar.gz")

    def __init__(self, repositories: dict[str, dict[str, bytes]] | None = None) -> None:
        self.repositories = repositories or {}
        self.figshare: dict[int, bytes] = {}
        self.commits: dict[str, str] = {}
        self._digests: dict[int, tuple[Any, str]] = {}
        self.answers: dict[str, tuple[int, list, bytes]] = {}
        self.once: dict[str, tuple[int, list, bytes]] = {}
        self.faults: dict[str, str] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.storage = f"http://localhost:{self.http.server_port}/storage"  # another host, as that of the hub
        self._thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()
        self._thread.join()

    def use(self, monkeypatch: Any) -> None:
        """Make the client of the hub ask this server and nobody else, in this process and in others."""
        monkeypatch.setenv("HF_ENDPOINT", self.url)
        monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
        monkeypatch.setattr("time.sleep", lambda _: None)  # between attempts

    def sha256(self, content: Any) -> str:
        key = id(content)
        if key not in self._digests:
            self._digests[key] = content, hashlib.sha256(content).hexdigest()
        return self._digests[key][1]

    def commit(self, repository: str) -> str:
        if repository in self.commits:
            return self.commits[repository]
        digest = hashlib.sha1(repository.encode())
        for path, content in sorted(self.repositories[repository].items()):
            digest.update(f"{path} {self.sha256(content)}".encode())
        return digest.hexdigest()

    def fetched(self) -> Counter[str]:
        """How often each file was sent from its start."""
        return Counter(path for method, path, asked in self.requests if method == "GET" and asked is None)

    def listing(self, repository: str) -> dict[str, Any]:
        siblings = []
        for path, content in self.repositories[repository].items():
            sha = self.sha256(content)
            entry: dict[str, Any] = {"rfilename": path, "size": len(content)}
            if not path.endswith(self.lfs):
                entry["blobId"] = _blob(content)
            else:
                entry["lfs"] = {"sha256": sha, "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        return {"_id": "1", "id": repository, "modelId": repository, "sha": self.commit(repository),
                "siblings": siblings, "tags": [], "private": False, "downloads": 0, "likes": 0}  # fmt: skip


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def log_message(self, *args: object) -> None:
        pass

    def _route(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path, self.headers.get("Range")))
        parts = path.strip("/").split("/")
        if path in hub.once:
            self._answer(*hub.once.pop(path))
        elif path in hub.answers:
            self._answer(*hub.answers[path])
        elif parts[:2] == ["api", "models"]:
            self._model("/".join(parts[2:4]), parts[5] if len(parts) > 5 else None)
        elif len(parts) > 4 and parts[2] == "resolve":
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        elif parts[0] == "storage":
            self._file(self._find("/".join(parts[1:3]), "/".join(parts[3:])), path)
        elif parts[0] == "figshare" and int(parts[1]) in hub.figshare:  # the storage of figshare
            self._file(hub.figshare[int(parts[1])], path)
        elif parts[-1].isdecimal() and int(parts[-1]) in hub.figshare:
            self._answer(302, [("Location", f"{hub.url}/figshare/{parts[-1]}")], b"")
        else:
            self._answer(404, [("X-Error-Code", "EntryNotFound"), ("X-Error-Message", "Entry not found")], b"")

    def _model(self, repository: str, revision: str | None) -> None:
        if repository not in self.hub.repositories:
            self._answer(404, [("X-Error-Code", "RepoNotFound")], b'{"error": "Repository not found"}')
        elif revision not in (None, "main", self.hub.commit(repository)):
            self._answer(404, [("X-Error-Code", "RevisionNotFound")], b'{"error": "Invalid rev id"}')
        else:
            body = json.dumps(self.hub.listing(repository)).encode()
            self._answer(200, [("Content-Type", "application/json")], body)

    def _find(self, repository: str, path: str) -> bytes | None:
        return self.hub.repositories.get(repository, {}).get(path)

    def _resolve(self, repository: str, revision: str, path: str) -> None:
        content = self._find(repository, path)
        commit = self.hub.commit(repository) if content is not None else ""
        if content is None or revision not in ("main", commit):
            self._answer(404, [("X-Error-Code", "EntryNotFound")], b"")
            return
        headers = [("X-Repo-Commit", commit), ("Accept-Ranges", "bytes")]
        if path.endswith(self.hub.lfs):
            sha = self.hub.sha256(content)
            linked = [("X-Linked-Size", str(len(content))), ("X-Linked-Etag", f'"{sha}"')]
            where = f"{self.hub.storage}/{repository}/{path}"
            self._answer(302, [*headers, *linked, ("Location", where)], b"")
        else:
            self._answer(200, [*headers, ("ETag", f'"{_blob(content)}"')], content)

    def _file(self, content: bytes | None, path: str) -> None:
        """Answer as the storage does: ranges, a tag, and what is to go wrong."""
        if content is None:
            self._answer(404, [], b"")
            return
        fault = self.hub.faults.pop(path, "") if self.command == "GET" else ""
        if fault == "pointer":
            content = POINTER.format(sha=hashlib.sha256(content).hexdigest(), size=len(content)).encode()
        elif fault == "short":
            content = content[: len(content) // 2]
        tag, asked = f'"{self.hub.sha256(content)[:32]}"', self.headers.get("Range")
        headers, status, start = [("ETag", tag), ("Accept-Ranges", "bytes")], 200, 0
        if asked and self.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").split("-")[0])
            if start >= len(content):
                self._answer(416, [("Content-Range", f"bytes */{len(content)}")], b"")
                return
            status = 206
            headers.append(("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"))
        sent = content[start:]
        cut = len(sent) // 2 if fault in ("cut", "hang") else None
        self._answer(status, headers, sent, cut=cut, hang=fault == "hang")

    def _answer(self, status: int, headers: list, body: bytes, *, cut: int | None = None, hang: bool = False) -> None:
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])
        if hang:
            threading.Event().wait(1)
        if cut is not None:
            self.close_connection = True
