#!/usr/bin/env python3
"""Write the policies in docs/iam, which come out of the list of calls in cloister/providers/ec2/permission/permissions.py."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cloister.providers.ec2.permission import permissions  # noqa: E402

FOLDER = ROOT / "docs" / "iam"
# To be replaced by one's own account, as docs/iam/README.md says.
ACCOUNT = "123456789012"


def documents() -> dict[str, str]:
    """File name → its text."""
    made = {
        "cloister-policy.json": permissions.policy(),
        "schedule-role-policy.json": permissions.schedule_role_policy(),
        "schedule-role-trust.json": permissions.schedule_role_trust(ACCOUNT),
    }
    return {name: json.dumps(document, indent=2) + "\n" for name, document in made.items()}


if __name__ == "__main__":
    for name, text in documents().items():
        (FOLDER / name).write_text(text)
