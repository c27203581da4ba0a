"""An HTTP request as an API call: service, region, action and parameters, whatever the protocol."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any
from urllib.parse import parse_qsl

from cloud.wire import service_model

_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/([^/]+)/([^/]+)/aws4_request")
# Where botocore's name of a service is not the one it signs with.
_MODELS = {"servicequotas": "service-quotas"}
_VALUE_MAX = 300


@dataclasses.dataclass(frozen=True, kw_only=True)
class Incoming:
    """`form` has the parameters of the query protocols, `document` those of the JSON ones."""

    service: str
    region: str
    action: str
    protocol: str
    form: dict[str, str]
    document: dict[str, Any]
    body: bytes
    port: int

    def of_note(self) -> dict[str, Any]:
        """The parameters for the journal, with long values cut."""
        left_out = ("Action", "Version")
        return {
            name: value[:_VALUE_MAX] if isinstance(value, str) else value
            for name, value in {**self.form, **self.document}.items()
            if name not in left_out
        }


def read(environ: dict[str, Any]) -> Incoming:
    """KeyError when the request is signed for no service that botocore knows."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    region, service = scope.groups() if scope else ("us-east-1", "s3")
    protocol = str(service_model(_MODELS.get(service, service)).metadata["protocol"])
    form = _form(environ, body) if protocol in ("ec2", "query") else {}
    return Incoming(
        service=service,
        region=region,
        action=_action(environ, service, form),
        protocol=protocol,
        form=form,
        document=_document(environ, protocol, body),
        body=body,
        port=int(environ.get("REMOTE_PORT", 0)),
    )


def _form(environ: dict[str, Any], body: bytes) -> dict[str, str]:
    text = f"{environ.get('QUERY_STRING', '')}&{body.decode()}"
    return dict(parse_qsl(text, keep_blank_values=True))


def _document(environ: dict[str, Any], protocol: str, body: bytes) -> dict[str, Any]:
    if protocol not in ("json", "rest-json"):
        return {}
    found = json.loads(body) if body else {}
    return {"path": environ["PATH_INFO"], **found} if protocol == "rest-json" else dict(found)


def _action(environ: dict[str, Any], service: str, form: dict[str, str]) -> str:
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    if "Action" in form:
        return form["Action"]
    return _by_path(service, environ["REQUEST_METHOD"], environ["PATH_INFO"])


def _by_path(service: str, method: str, path: str) -> str:
    model = service_model(service)
    for name in model.operation_names:
        http = model.operation_model(name).http
        pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(http["requestUri"].split("?")[0]))
        if http["method"] == method and re.fullmatch(pattern, path):
            return str(name)
    return f"{method} {path}"
