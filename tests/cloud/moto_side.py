"""The calls that moto answers, without its pages about errors of its own."""

from __future__ import annotations

import io
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from cloud.incoming import Incoming
from cloud.refusals import not_simulated
from cloud.replies import Reply

# What moto only reads from tables, and takes longer for than for anything else.
_TABLES = frozenset(
    ("DescribeInstanceTypeOfferings", "DescribeInstanceTypes", "DescribeSubnets", "DescribeVpcs")
)


class MotoSide:
    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._read: dict[tuple[str, bytes], Reply] = {}

    def reply(self, environ: dict[str, Any], call: Incoming) -> Reply:
        """Refusal NotSimulated where moto has nothing."""
        if call.action not in _TABLES:
            return self._reply(environ, call)
        asked = (call.region, call.body)
        if asked not in self._read:
            self._read[asked] = self._reply(environ, call)
        return self._read[asked]

    def _reply(self, environ: dict[str, Any], call: Incoming) -> Reply:
        status, headers = "500", []

        def start(line: str, given: list[tuple[str, str]], _: object = None) -> None:
            nonlocal status, headers
            status, headers = line, given

        try:
            inside = {**environ, "wsgi.input": io.BytesIO(call.body)}
            body = b"".join(self._app(inside, start))
        except NotImplementedError as error:
            raise not_simulated(call.action, details=f"({error})") from error
        code = int(status.split()[0])
        if code >= 500:
            raise not_simulated(call.action, details=f"(moto: {status})")
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        return Reply(status=code, headers=kept, body=body)
