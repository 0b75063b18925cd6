"""An object store that answers wrongly, slowly or never, as no healthy one does: over HTTP, as S3 speaks it.

Asked without a fault, it answers properly; it takes whatever signature comes.
"""

import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

from veza_ops_tests.store_faults import Answer, Fault, Request, error_body


@dataclass
class _Planned:
    when: Callable[[Request], bool]
    fault: Fault
    times: int | None


_WRITTEN = datetime.now(UTC).replace(microsecond=0)
"""When each object was written, as far as anybody is told: the same in a listing as by itself."""


class FaultyStore:
    """The server: its content, what it was asked, and how it is to fail."""

    def __init__(self) -> None:
        self.buckets: dict[str, dict[str, bytes]] = {}
        self.uploads: dict[str, list[tuple[str, datetime]]] = {}
        """The uploads under way in a bucket: the key, and when each was begun."""
        self.requests: list[Request] = []
        self.page_size = 1000
        """Keys in a page at most, also where more are asked for."""
        self.is_ending = threading.Event()
        self._planned: list[_Planned] = []
        self._lock = threading.Lock()
        self._server = _Server(self)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a client comes to it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "reader",
            "AWS_SECRET_ACCESS_KEY": "reader-secret",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def fault(self, when: Callable[[Request], bool], fault: Fault, *, times: int | None = None) -> None:
        """Fail in this way when asked so: always, or the first `times`. Of several faults, the first is taken."""
        with self._lock:
            self._planned.append(_Planned(when, fault, times))

    def heal(self) -> None:
        """Answer properly from now on."""
        with self._lock:
            self._planned.clear()

    def take(self, request: Request) -> Fault:
        """Write down what was asked, and find how to fail."""
        with self._lock:
            self.requests.append(request)
            for planned in self._planned:
                if planned.times != 0 and planned.when(request):
                    if planned.times is not None:
                        planned.times -= 1
                    return planned.fault
        return Fault()

    def answer(self, request: Request, fault: Fault) -> Answer:
        """What is said, of which a fault may say less."""
        if fault.before is not None:
            fault.before(request)
        if fault.answer is not None:
            return fault.answer
        proper = self._answer(request, fault)
        return fault.change(request, proper) if fault.change is not None else proper

    def end(self) -> None:
        self.is_ending.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._server.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # also one that is kept for the next request

    def _answer(self, request: Request, fault: Fault) -> Answer:
        if request.method == "PUT" and not request.key:
            self.buckets.setdefault(request.bucket, {})
        objects = self.buckets.get(request.bucket)
        if objects is None:
            return _missing("NoSuchBucket")
        return self._of_object(request, objects) if request.key else self._of_bucket(request, objects, fault)

    def _of_bucket(self, request: Request, objects: dict[str, bytes], fault: Fault) -> Answer:
        if request.lists_uploads:
            return self._uploads(request)
        if request.is_listing:
            return self._listing(request, objects, fault)
        if request.method == "POST" and "delete" in request.query:
            keys = re.findall("<Key>(.*?)</Key>", request.body.decode())
            for key in keys:
                objects.pop(unescape(key), None)
            return _xml("DeleteResult", "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys), {})
        return Answer()

    @staticmethod
    def _of_object(request: Request, objects: dict[str, bytes]) -> Answer:
        if request.method == "PUT":
            objects[request.key] = request.body
            return Answer(headers={"ETag": _etag(request.body)})
        if request.method == "DELETE":
            objects.pop(request.key, None)
            return Answer(204)
        if request.method not in ("GET", "HEAD"):
            return Answer(501, {}, error_body("NotImplemented"))
        data = objects.get(request.key)
        if data is None:
            return _missing("NoSuchKey")
        headers = {"ETag": _etag(data), "Last-Modified": format_datetime(_WRITTEN, usegmt=True)}
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", request.range):
            first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return Answer(206, headers, data[first : last + 1])
        return Answer(200, headers, data)

    def _listing(self, request: Request, objects: Mapping[str, bytes], fault: Fault) -> Answer:
        query, prefix, delimiter = request.query, request.query.get("prefix", ""), request.query.get("delimiter", "")
        keys = sorted((key for key in list(objects) if key.startswith(prefix)), key=str.encode)
        if fault.keys is not None:
            keys = fault.keys(keys)
        names = [_rolled_up(key, prefix, delimiter) for key in keys]
        entries = list(dict.fromkeys(names)) if delimiter else names
        start, skipped = query.get("start-after", ""), 0
        kind, _, value = query.get("continuation-token", "").partition(":")
        if kind == "after":
            start = unquote(value)
        elif kind == "number":
            skipped = int(value)
        entries = entries[skipped:] if skipped else [name for name in entries if name.encode() > start.encode()]
        size = min(int(query.get("max-keys", "1000")), self.page_size)
        page, is_more = entries[:size], len(entries) > size or fault.token is not None
        if fault.token is not None:
            following = fault.token
        elif fault.keys is not None:  # the keys of a fault may be in any order, so they are counted
            following = f"number:{skipped + len(page)}"
        else:  # by its name, since objects may come and go between two pages
            following = f"after:{quote(page[-1])}" if page else ""
        text = _encoding(query)
        common = [name for name in page if delimiter and name.endswith(delimiter) and name != prefix]
        body = "".join(
            f"<Contents><Key>{text(key)}</Key><LastModified>{_iso(_WRITTEN)}</LastModified>"
            f"<ETag>{escape(_etag(objects.get(key, b'')))}</ETag><Size>{len(objects.get(key, b''))}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for key in page
            if key not in common
        )
        body += "".join(f"<CommonPrefixes><Prefix>{text(name)}</Prefix></CommonPrefixes>" for name in common)
        body += f"<Name>{request.bucket}</Name><Prefix>{text(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
        body += f"<MaxKeys>{size}</MaxKeys><IsTruncated>{str(is_more).lower()}</IsTruncated>"
        if is_more:
            body += f"<NextContinuationToken>{following}</NextContinuationToken>"
        return _xml("ListBucketResult", body, query)

    def _uploads(self, request: Request) -> Answer:
        query, prefix = request.query, request.query.get("prefix", "")
        there = [
            (key, f"{number:08}", begun)
            for number, (key, begun) in enumerate(list(self.uploads.get(request.bucket, ())), start=1)
            if key.startswith(prefix)
        ]
        there.sort(key=lambda each: (each[0].encode(), each[1]))
        if marker := query.get("key-marker"):
            # Without the marker of an upload, all uploads of that key count as given.
            last = (marker.encode(), query.get("upload-id-marker") or "~")
            there = [each for each in there if (each[0].encode(), each[1]) > last]
        size = min(int(query.get("max-uploads", "1000")), self.page_size)
        page, is_more, text = there[:size], len(there) > size, _encoding(query)
        body = "".join(
            f"<Upload><Key>{text(key)}</Key><UploadId>{upload}</UploadId><Initiated>{_iso(begun)}</Initiated></Upload>"
            for key, upload, begun in page
        )
        body += f"<Bucket>{request.bucket}</Bucket><Prefix>{text(prefix)}</Prefix>"
        body += f"<IsTruncated>{str(is_more).lower()}</IsTruncated>"
        if is_more:
            key, upload, _ = page[-1]
            body += f"<NextKeyMarker>{text(key)}</NextKeyMarker><NextUploadIdMarker>{upload}</NextUploadIdMarker>"
        return _xml("ListMultipartUploadsResult", body, query)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a thread may be at a silent client's
    request_queue_size = 128

    def __init__(self, store: FaultyStore) -> None:
        self.store = store
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        address = urlsplit(self.path)
        bucket, _, key = address.path.removeprefix("/").partition("/")
        query = dict(parse_qsl(address.query, keep_blank_values=True))
        body = self._read()
        request = Request(
            self.command, unquote(bucket), unquote(key), query, datetime.now(UTC), body, self.headers.get("Range", "")
        )
        store = self.server.store
        fault = store.take(request)
        self._say(store.answer(request, fault), fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 - http.server's names

    def _read(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return body
        plain = b""
        while body:  # boto3 sends a checksum after the data, and so the data in chunks
            size, _, body = body.partition(b"\r\n")
            length = int(size.partition(b";")[0], 16)
            if not length:
                break
            plain, body = plain + body[:length], body[length + 2 :]
        return plain

    def _say(self, answer: Answer, fault: Fault) -> None:
        head = [f"HTTP/1.1 {answer.status} {self.responses.get(answer.status, ('',))[0]}"]
        head += [f"{name}: {value}" for name, value in answer.headers.items()]
        if answer.status != 204:
            head.append(f"Content-Length: {len(answer.body)}")
        first = ("\r\n".join(head) + "\r\n\r\n").encode()
        body = b"" if self.command == "HEAD" else answer.body
        if not fault.headers_are_said:
            first = b""
        elif fault.said < 1 and not body:
            first = first[: int(len(first) * fault.said)]  # an answer without a body stops in its headers
        said = first + body[: int(len(body) * fault.said)]
        with suppress(OSError):
            if fault.seconds_a_byte:
                for number in range(len(said)):
                    self.wfile.write(said[number : number + 1])
                    if self.server.store.is_ending.wait(fault.seconds_a_byte):
                        break
            else:
                self.wfile.write(said)
        if fault.is_closed:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        elif fault.said < 1:
            self.close_connection = True
            self.server.store.is_ending.wait()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def handle(self) -> None:
        self.server.connections.add(self.connection)
        try:
            with suppress(OSError):  # whoever asked may be gone
                super().handle()
        finally:
            self.server.connections.discard(self.connection)


def _rolled_up(key: str, prefix: str, delimiter: str) -> str:
    """What stands for a key in a listing: itself, or the folder that it is in."""
    head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
    return prefix + head + found if found else key


def _encoding(query: Mapping[str, str]) -> Callable[[str], str]:
    return (lambda text: quote(text, safe="/")) if query.get("encoding-type") == "url" else escape


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _missing(code: str) -> Answer:
    return Answer(404, {"Content-Type": "application/xml"}, error_body(code))


def _xml(name: str, body: str, query: Mapping[str, str]) -> Answer:
    encoding = "<EncodingType>url</EncodingType>" if query.get("encoding-type") == "url" else ""
    space = "http://s3.amazonaws.com/doc/2006-03-01/"
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="{space}">{body}{encoding}</{name}>'
    return Answer(200, {"Content-Type": "application/xml"}, text.encode())


@contextmanager
def faulty_store(*buckets: str) -> Iterator[FaultyStore]:
    """One with these buckets, which is gone at the end, whomever it keeps waiting."""
    store = FaultyStore()
    for bucket in buckets:
        store.buckets[bucket] = {}
    try:
        yield store
    finally:
        store.end()
