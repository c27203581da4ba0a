"""Which image a node gets: resolved once per region, so that all nodes of a launch have the same."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloister.config.ec2_spec import Family, ImageSpec
from cloister.errors import ProviderError
from cloister.providers.ec2.api import Aws, AwsError

_NEAREST = 3
_SSM = "resolve:ssm:"
# The publishers' own public parameters, and the user that their images have.
_PARAMETERS: Mapping[Family, tuple[str, Mapping[str, str], str]] = {
    "ubuntu-24.04": (
        "/aws/service/canonical/ubuntu/server/24.04/stable/current/{}/hvm/ebs-gp3/ami-id",
        {"x86_64": "amd64", "arm64": "arm64"},
        "ubuntu",
    ),
    "debian-12": (
        "/aws/service/debian/release/12/latest/{}",
        {"x86_64": "amd64", "arm64": "arm64"},
        "admin",
    ),
    "al2023": (
        "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{}",
        {"x86_64": "x86_64", "arm64": "arm64"},
        "ec2-user",
    ),
}
DEFAULT_USER = "ubuntu"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Image:
    id: str
    name: str
    architecture: str
    root_device: str


def user_of(spec: ImageSpec | None) -> str:
    """The user of a family's images; of one's own, the usual one."""
    return _PARAMETERS[spec.family][2] if spec is not None and spec.family else DEFAULT_USER


def resolved(aws: Aws, region: str, spec: ImageSpec, architecture: str) -> Image:
    """The image that `spec` means now in this region; ProviderError if there is none that fits."""
    if spec.ami == "latest":
        assert spec.ami_tag is not None
        return newest(own_images(aws, region), spec.ami_tag, architecture, region)
    image_id = spec.ami or ""
    if spec.family:
        path, names, _ = _PARAMETERS[spec.family]
        image_id = _SSM + path.format(names[architecture])
    if image_id.startswith(_SSM):
        image_id = _parameter(aws, region, image_id.removeprefix(_SSM))
    return _fitting(_image(aws, region, image_id), architecture, region)


def newest(
    images: Iterable[Mapping[str, Any]], prefix: str, architecture: str, region: str
) -> Image:
    """The newest available image whose name begins with `prefix`; of equally new ones the last by id."""
    found, named = _named(images, prefix)
    if usable := _usable(named, architecture):
        return _as_image(usable[-1])
    raise ProviderError(
        f"no image of this account in {region} can be used: {_why_none(found, named, prefix, architecture)}",
        hint="`cloister images` lists them; `cloister bake` makes one",
    )


def latest(images: Iterable[Mapping[str, Any]], prefix: str) -> list[Image]:
    """What `newest` chooses for each architecture that there is."""
    _, named = _named(images, prefix)
    usable = [_usable(named, each) for each in {image["Architecture"] for image in named}]
    return [_as_image(each[-1]) for each in usable if each]


def _named(
    images: Iterable[Mapping[str, Any]], prefix: str
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """All, oldest first, and those of them whose name begins so."""
    # AWS tells whole seconds; names that `bake` gives tell more.
    found = sorted(
        images, key=lambda image: (image["CreationDate"], image.get("Name", ""), image["ImageId"])
    )
    return found, [image for image in found if image.get("Name", "").startswith(prefix)]


def _usable(named: Iterable[Mapping[str, Any]], architecture: str) -> list[Mapping[str, Any]]:
    return [
        image
        for image in named
        if image["State"] == "available" and image["Architecture"] == architecture
    ]


def _why_none(
    found: Sequence[Mapping[str, Any]],
    named: Sequence[Mapping[str, Any]],
    prefix: str,
    architecture: str,
) -> str:
    if named:
        states = ", ".join(
            f"{image['Name']} ({image['ImageId']}) is {image['State']}, {image['Architecture']}"
            for image in named[-_NEAREST:]
        )
        return f"{states}; needed: available, {architecture}"
    names = [image.get("Name", "") for image in found]
    near = difflib.get_close_matches(prefix, names, n=_NEAREST, cutoff=0.3) or names[-_NEAREST:]
    return f"no name begins with {prefix!r}; there are: {', '.join(near) or 'none at all'}"


def own_images(aws: Aws, region: str) -> list[Any]:
    # Without Owners, anybody's public image of that name would do.
    return list(aws.pages(region, "describe_images", "Images", Owners=["self"]))


def _parameter(aws: Aws, region: str, path: str) -> str:
    try:
        reply = aws.asked(region, "get_parameter", service="ssm", Name=path)
    except AwsError as error:
        if error.code != "ParameterNotFound":
            raise
        raise ProviderError(f"there is no public parameter {path} in {region}") from None
    return str(reply["Parameter"]["Value"])


def _image(aws: Aws, region: str, image_id: str) -> Mapping[str, Any]:
    try:
        images = aws.asked(region, "describe_images", ImageIds=[image_id])["Images"]
    except AwsError as error:
        if not error.code.startswith("InvalidAMIID"):
            raise
        images = []
    if not images:
        raise ProviderError(
            f"there is no image {image_id} in {region}",
            hint="an image id belongs to one region; `ami: latest` or a family works in all",
        )
    found: Mapping[str, Any] = images[0]
    return found


def _fitting(image: Mapping[str, Any], architecture: str, region: str) -> Image:
    if image["State"] != "available":
        raise ProviderError(f"image {image['ImageId']} in {region} is {image['State']}")
    if image["Architecture"] != architecture:
        raise ProviderError(
            f"image {image['ImageId']} in {region} is for {image['Architecture']},"
            f" the machine type is {architecture}",
            hint="choose another machine type, or another image",
        )
    return _as_image(image)


def _as_image(image: Mapping[str, Any]) -> Image:
    return Image(
        id=image["ImageId"],
        name=image.get("Name", ""),
        architecture=image["Architecture"],
        root_device=image.get("RootDeviceName") or "/dev/sda1",
    )
