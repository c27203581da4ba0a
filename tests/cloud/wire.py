"""EC2's wire format, by botocore's model of the API: parameters into values, answers into XML."""

from __future__ import annotations

import base64
import datetime
import functools
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from botocore.exceptions import UnknownServiceError
from botocore.model import ListShape, OperationModel, ServiceModel, Shape, StructureShape
from moto.core.utils import get_service_model

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"


def service_model(service: str) -> ServiceModel:
    """Read once, by moto too; KeyError when botocore has no such service."""
    try:
        return get_service_model(service)
    except UnknownServiceError as error:
        raise KeyError(service) from error


@functools.cache
def operation(action: str) -> OperationModel:
    return service_model("ec2").operation_model(action)


def asked(action: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """The call's parameters in the shape in which boto3 takes them; unknown ones are left out."""
    shape = operation(action).input_shape
    return _value(shape, _tree(parameters)) if shape is not None else {}


def answer(action: str, result: Mapping[str, Any], request_id: str) -> bytes:
    """KeyError when the result has a key that the API's model does not know."""
    shape = operation(action).output_shape
    parts: list[str] = [
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{action}Response xmlns="{NAMESPACE}">'
        f"<requestId>{request_id}</requestId>"
    ]
    if shape is None:
        parts.append("<return>true</return>")
    else:
        _write_structure(shape, result, parts)
    parts.append(f"</{action}Response>")
    return "".join(parts).encode()


def error(code: str, message: str, request_id: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
        f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        f"</Error></Errors><RequestID>{request_id}</RequestID></Response>"
    ).encode()


def _tree(parameters: Mapping[str, str]) -> dict[str, Any]:
    """{"Filter.1.Name": "x"} → {"Filter": {"1": {"Name": "x"}}}"""
    root: dict[str, Any] = {}
    for name, value in parameters.items():
        *path, last = name.split(".")
        place = root
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return root


def _value(shape: Shape, node: Any) -> Any:
    match shape.type_name:
        case "structure":
            return {
                name: _value(member, node[key])
                for name, (key, member) in _inputs(shape).items()
                if key in node
            }
        case "list":
            numbers = sorted(node, key=int) if isinstance(node, dict) else []
            return [_value(shape.member, node[number]) for number in numbers]
        case "integer" | "long":
            return int(node)
        case "float" | "double":
            return float(node)
        case "boolean":
            return node.lower() == "true"
        case "blob":
            return base64.b64decode(node)
        case _:
            return node


@functools.cache
def _inputs(shape: StructureShape) -> dict[str, tuple[str, Shape]]:
    return {name: (_input_name(name, member), member) for name, member in shape.members.items()}


def _input_name(name: str, member: Shape) -> str:
    """The `ec2` protocol capitalises locations: https://smithy.io/2.0/aws/protocols/aws-ec2-query-protocol.html"""
    if "queryName" in member.serialization:
        return str(member.serialization["queryName"])
    location = str(member.serialization.get("name", name))
    return location[0].upper() + location[1:]


def _write_structure(shape: StructureShape, value: Mapping[str, Any], parts: list[str]) -> None:
    outputs = _outputs(shape)
    for name, member in value.items():
        if member is not None:
            _write(*outputs[name], member, parts)


@functools.cache
def _outputs(shape: StructureShape) -> dict[str, tuple[str, Shape]]:
    return {
        name: (str(member.serialization.get("name", name)), member)
        for name, member in shape.members.items()
    }


def _write(name: str, shape: Shape, value: Any, parts: list[str]) -> None:
    parts.append(f"<{name}>")
    match shape.type_name:
        case "structure":
            _write_structure(shape, value, parts)
        case "list":
            _write_items(shape, value, parts)
        case _:
            parts.append(_text(value))
    parts.append(f"</{name}>")


def _write_items(shape: ListShape, values: list[Any], parts: list[str]) -> None:
    name = str(shape.member.serialization.get("name", "item"))
    for value in values:
        _write(name, shape.member, value, parts)


def _text(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case bytes():
            return base64.b64encode(value).decode()
        case datetime.datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03}Z"
        case _:
            return escape(str(value))
