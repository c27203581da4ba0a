from __future__ import annotations

from typing import Any

import pytest

from cloister.errors import ProviderError
from cloister.providers.ec2.image.images import newest


def image(number: int, name: str, **changes: Any) -> dict[str, Any]:
    return {
        "ImageId": f"ami-{number}",
        "Name": name,
        "CreationDate": f"2026-01-{number:02}T00:00:00.000Z",
        "State": "available",
        "Architecture": "x86_64",
        "RootDeviceName": "/dev/xvda",
        **changes,
    }


def found(images: list[dict[str, Any]], prefix: str = "base-") -> str:
    return newest(images, prefix, "x86_64", "us-east-1").id


def test_the_newest_whose_name_begins_so_is_taken() -> None:
    images = [image(2, "base-b"), image(3, "base-c"), image(1, "base-a"), image(9, "data-base-z")]
    assert found(images) == "ami-3"


def test_what_is_pending_failed_or_for_another_architecture_is_passed_over() -> None:
    images = [
        image(1, "base-1"),
        image(2, "base-2", State="pending"),
        image(3, "base-3", State="failed"),
        image(4, "base-4", Architecture="arm64"),
    ]
    assert found(images) == "ami-1"


def test_of_equally_new_ones_the_choice_does_not_depend_on_their_order() -> None:
    date = "2026-01-01T00:00:00.000Z"
    images = [image(n, f"base-{n}", CreationDate=date) for n in (1, 3, 2)]
    assert found(images) == found(images[::-1]) == "ami-3"


def test_without_a_match_the_nearest_names_are_said() -> None:
    with pytest.raises(ProviderError, match=r"no name begins with .bsae-.*base-1"):
        found([image(1, "base-1"), image(2, "other")], "bsae-")


def test_a_match_that_cannot_be_used_is_said_with_its_reason() -> None:
    with pytest.raises(ProviderError, match=r"base-1 \(ami-1\) is pending, x86_64"):
        found([image(1, "base-1", State="pending")])


def test_an_account_without_images_says_so() -> None:
    with pytest.raises(ProviderError, match="none at all"):
        found([])
