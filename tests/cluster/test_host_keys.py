import dataclasses
import subprocess

import pytest

from cloister.cluster import host_keys
from cloister.cluster.host_keys import key_known_to_user, pin, pinned
from cloister.plan.observed import Node
from cloister.providers.keys import new_key_pair
from cloister.providers.openssh import SshSettings

NODE = Node(name="a", roles=("w",), number=1, address="h1", private_address="h1", port=2200)


@pytest.fixture(scope="module")
def key():
    return new_key_pair().public


def test_a_key_pinned_at_first_contact_is_expected_from_then_on(tmp_path, key):
    assert pinned(tmp_path, NODE) == ""
    pin(tmp_path, NODE, key)
    assert pinned(tmp_path, NODE) == key
    assert key in (tmp_path / "known_hosts").read_text()


def test_a_pin_does_not_follow_the_name_to_another_machine(tmp_path, key):
    pin(tmp_path, NODE, key)
    assert pinned(tmp_path, dataclasses.replace(NODE, address="h2")) == ""


def test_the_configured_key_wins(tmp_path, key):
    pin(tmp_path, NODE, key)
    assert pinned(tmp_path, dataclasses.replace(NODE, host_key="ssh-ed25519 BBBB")).endswith("BBBB")


@pytest.mark.parametrize("hashed", [False, True])
def test_a_host_that_the_user_knows_is_known(tmp_path, key, monkeypatch, hashed):
    file = tmp_path / "known"
    file.write_text(f"# comment\n[h1]:2200 {key}\nother {key[:-4]}AAAA\n")
    if hashed:
        subprocess.run(["ssh-keygen", "-H", "-f", str(file)], check=True, capture_output=True)
        assert "[h1]" not in file.read_text()
    settings = SshSettings(hostname="h1", port=2200, known_hosts_files=(str(file), "/none"))
    monkeypatch.setattr(host_keys, "ssh_settings", lambda *args, **options: settings)
    assert key_known_to_user(NODE) == key


def test_a_host_that_the_user_does_not_know_has_no_key(tmp_path, monkeypatch):
    settings = SshSettings(hostname="h1", known_hosts_files=(str(tmp_path / "none"),))
    monkeypatch.setattr(host_keys, "ssh_settings", lambda *args, **options: settings)
    assert key_known_to_user(NODE) == ""


def test_a_made_key_pair_is_one_that_openssh_reads(tmp_path):
    pair = new_key_pair()
    file = tmp_path / "key"
    file.write_text(pair.private)
    file.chmod(0o600)
    public = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(file)], check=True, capture_output=True, text=True
    )
    assert public.stdout.split() == pair.public.split()
