"""Key pairs: imported or made here, found again by name and by tag."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from cloud.filters import filtered
from cloud.refusals import Refusal, missing, not_simulated
from cloud.resources import Key, Region, new_id
from cloud.tags import listed, specified
from cloud.world import World

_TYPES = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}


def import_key_pair(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    if "PublicKeyMaterial" not in asked:
        raise missing("PublicKeyMaterial")
    text = asked["PublicKeyMaterial"].decode("utf-8", errors="replace").strip()
    key = _added(world, region, asked, text)
    return _shown(key)


def create_key_pair(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    if asked.get("KeyType", "rsa") != "ed25519":
        raise not_simulated("CreateKeyPair", details="but for KeyType ed25519")
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    key = _added(world, region, asked, public)
    text = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return {**_shown(key), "KeyMaterial": text}


def delete_key_pair(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    """Deleting a key that does not exist is no error."""
    wanted = (asked.get("KeyPairId"), asked.get("KeyName"))
    for key in list(region.keys.values()):
        if key.id == wanted[0] or key.name == wanted[1]:
            world.remove(region.keys, key.id)
            return {"Return": True, "KeyPairId": key.id}
    return {"Return": True}


def describe_key_pairs(world: World, region: Region, asked: dict[str, Any]) -> dict[str, Any]:
    keys = world.listed(region.keys)
    if ids := asked.get("KeyPairIds"):
        keys = [world.find(region.keys, one, _unknown_id) for one in ids]
    if names := asked.get("KeyNames"):
        keys = [named(world, region, name) for name in names]
    attributes = {
        "key-name": lambda key: key.name,
        "key-pair-id": lambda key: key.id,
        "fingerprint": lambda key: key.fingerprint,
    }
    found = filtered(keys, asked.get("Filters", []), attributes, lambda key: key.tags)
    with_key = asked.get("IncludePublicKey", False)
    return {
        "KeyPairs": [
            {
                **_shown(key),
                "KeyType": key.type,
                "CreateTime": world.clock.shown(key.created),
                **({"PublicKey": key.material} if with_key else {}),
            }
            for key in found
        ]
    }


def named(world: World, region: Region, name: str) -> Key:
    for key in world.seen(region.keys):
        if key.name == name:
            return key
    raise Refusal("InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist")


def _added(world: World, region: Region, asked: dict[str, Any], material: str) -> Key:
    name = asked.get("KeyName")
    if not name:
        raise missing("KeyName")
    if any(key.name == name for key in region.keys.values()):
        raise Refusal("InvalidKeyPair.Duplicate", f"The keypair '{name}' already exists.")
    kind, blob = _parsed(material)
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    key = Key(
        id=new_id("key"),
        tags=specified(asked, "key-pair")["key-pair"],
        created=world.clock.now(),
        name=name,
        type=kind,
        material=material,
        fingerprint=digest if kind == "ed25519" else hashlib.md5(blob).hexdigest(),
    )
    region.keys[key.id] = key
    return key


def _parsed(material: str) -> tuple[str, bytes]:
    """Type and key; the key begins with the length and name of its type too."""
    try:
        kind, text = material.split()[:2]
        blob = base64.b64decode(text, validate=True)
        if kind not in _TYPES or not blob[4:].startswith(kind.encode()):
            raise ValueError(kind)
    except ValueError as error:
        raise Refusal(
            "InvalidKey.Format", "Key is not in valid OpenSSH public key format"
        ) from error
    return _TYPES[kind], blob


def _shown(key: Key) -> dict[str, Any]:
    return {
        "KeyName": key.name,
        "KeyPairId": key.id,
        "KeyFingerprint": key.fingerprint,
        "Tags": listed(key.tags),
    }


def _unknown_id(key_id: str) -> Refusal:
    return Refusal("InvalidKeyPair.NotFound", f"The key pair '{key_id}' does not exist")
