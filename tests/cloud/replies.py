"""Answers and errors on the wire, in the protocol of the call."""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
from typing import Any
from xml.sax.saxutils import escape

from cloud import wire
from cloud.incoming import Incoming
from cloud.refusals import Refusal

_CODE = re.compile(rb"<Code>([^<]+)</Code>|\"__type\": ?\"(?:[^\"#]*#)?([^\"]+)\"")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def error_code(self) -> str:
        if self.status < 400:
            return ""
        named = {name.lower(): value for name, value in self.headers}
        found = _CODE.search(self.body)
        code = (found[1] or found[2]).decode() if found else named.get("x-amzn-errortype", "")
        return code or str(self.status)


def answered(call: Incoming, result: dict[str, Any]) -> Reply:
    request_id = _request_id()
    if call.protocol == "ec2":
        return _xml(200, wire.answer(call.action, result, request_id), request_id)
    return _json(200, result, request_id)


def refused(protocol: str, refusal: Refusal) -> Reply:
    request_id = _request_id()
    match protocol:
        case "ec2":
            body = wire.error(refusal.code, refusal.message, request_id)
            return _xml(refusal.status, body, request_id)
        case "query" | "rest-xml":
            return _xml(refusal.status, _error_document(protocol, refusal), request_id)
        case _:
            document = {"__type": refusal.code, "message": refusal.message}
            reply = _json(refusal.status, document, request_id)
            headers = [*reply.headers, ("x-amzn-ErrorType", refusal.code)]
            return dataclasses.replace(reply, headers=headers)


def _error_document(protocol: str, refusal: Refusal) -> bytes:
    inside = (
        f"<Error><Code>{escape(refusal.code)}</Code>"
        f"<Message>{escape(refusal.message)}</Message></Error>"
    )
    whole = inside if protocol == "rest-xml" else f"<ErrorResponse>{inside}</ErrorResponse>"
    return whole.encode()


def _xml(status: int, body: bytes, request_id: str) -> Reply:
    headers = [("Content-Type", "text/xml;charset=UTF-8"), ("x-amzn-RequestId", request_id)]
    return Reply(status=status, headers=headers, body=body)


def _json(status: int, document: dict[str, Any], request_id: str) -> Reply:
    headers = [("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-RequestId", request_id)]
    return Reply(status=status, headers=headers, body=json.dumps(document).encode())


def _request_id() -> str:
    return f"req-{secrets.token_hex(8)}"
