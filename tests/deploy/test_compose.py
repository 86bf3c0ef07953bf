"""docker-compose.yml says what the manifests say: the same services, images, ports of loopback, keys apart."""

from __future__ import annotations

from typing import Any

import pytest

from cli.keys import make_keys
from libs.common.streams import SERVICES, WATCHDOG
from tests.deploy.dockerfile import ROOT

yaml = pytest.importorskip("yaml", reason="needs PyYAML: make setup")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    text = (ROOT / "docker-compose.yml").read_text()
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def test_every_service_has_its_image_and_a_readiness_check(compose: dict[str, Any]):
    for name in SERVICES:
        service = compose["services"][name]
        assert service["image"].startswith(f"tidegate/{name}:")
        assert service["build"]["args"] == {"SERVICE": name}
        assert "/readyz" in service["healthcheck"]["test"][-1]
        assert service["restart"] == "unless-stopped"
        assert service["depends_on"]["redis"] == {"condition": "service_healthy"}


def test_containers_have_no_rights_they_do_not_need(compose: dict[str, Any]):
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service.get("read_only") or name == "grafana", name


def test_ports_are_of_loopback(compose: dict[str, Any]):
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert len(ports) >= 8
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_each_container_sees_its_own_keys_alone(compose: dict[str, Any]):
    seen = {
        name: {volume.partition(":")[0] for volume in service.get("volumes", ()) if volume.startswith("keys-")}
        for name, service in compose["services"].items()
    }
    assert {name: keys for name, keys in seen.items() if keys} == {
        "keys": {f"keys-{reader}" for reader in make_keys()},
        **{name: {f"keys-{name}"} for name in (*SERVICES, WATCHDOG, "sim", "redis")},
        "cli": {"keys-operator"},
    }
    assert compose["services"]["keys"]["network_mode"] == "none"


def test_the_bus_lets_nobody_in_who_is_not_on_its_list(compose: dict[str, Any]):
    redis = compose["services"]["redis"]
    assert "--aclfile /keys/users.acl" in " ".join(redis["command"])
    assert redis["depends_on"] == {"keys": {"condition": "service_completed_successfully"}}
    assert "--user probe" in redis["healthcheck"]["test"][-1]


def test_the_bus_forgets_nothing(compose: dict[str, Any]):
    command = " ".join(compose["services"]["redis"]["command"])
    assert "--appendonly yes --appendfsync always" in command
    assert "noeviction" in command


def test_mounted_files_exist(compose: dict[str, Any]):
    files = [c["file"] for c in compose["configs"].values()]
    files += [v.split(":")[0] for s in compose["services"].values() for v in s.get("volumes", ()) if v.startswith("./")]
    assert len(files) >= 5
    assert [file for file in files if not (ROOT / file).exists()] == []
