"""The Kubernetes manifests: rendered as kubectl does, valid by the API's own schemas, and with what they promise."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from functools import cache
from typing import Any

import pytest

from cli.keys import make_keys
from libs.common.streams import SERVICES, WATCHDOG
from tests.deploy.dockerfile import ROOT

yaml = pytest.importorskip("yaml", reason="needs PyYAML: make setup")


def can_render() -> bool:
    """Components need kustomize 4 or newer; a kubectl that has one names it."""
    if shutil.which("kubectl") is None:
        return False
    command = ["kubectl", "version", "--client", "--output=json"]
    return "kustomizeVersion" in subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


if not can_render():
    pytest.skip("needs kubectl 1.24 or newer to render manifests", allow_module_level=True)

RENDERED = ("base", "overlays/demo", "overlays/paper")
WORKLOADS = ("Deployment", "StatefulSet", "Job")
LABELS = {f"app.kubernetes.io/{name}" for name in ("name", "instance", "version", "component", "part-of", "managed-by")}
Object = dict[str, Any]


@cache
def rendered(folder: str) -> tuple[Object, ...]:
    command = ["kubectl", "kustomize", str(ROOT / "deploy/k8s" / folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(folder: str, *kinds: str) -> list[Object]:
    return [item for item in rendered(folder) if item["kind"] in kinds]


def one(folder: str, kind: str, name: str) -> Object:
    (found,) = (item for item in of_kind(folder, kind) if item["metadata"]["name"] == name)
    return found


def workload(folder: str, name: str) -> Object:
    (found,) = (item for item in of_kind(folder, *WORKLOADS) if item["metadata"]["name"] == name)
    return found


def pods(folder: str) -> dict[str, Object]:
    """Pod specs by workload."""
    return {item["metadata"]["name"]: item["spec"]["template"]["spec"] for item in of_kind(folder, *WORKLOADS)}


@pytest.mark.parametrize("folder", RENDERED)
@pytest.mark.parametrize("version", ["1.32", "1.36"])
def test_every_object_is_valid_by_the_schemas(folder: str, version: str):
    validator = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate: make setup")
    for item in rendered(folder):
        validator.validate(item, version, strict=True)  # raises for wrong, unknown and removed


def test_the_validator_finds_what_is_wrong():
    validator = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate: make setup")
    item = workload("base", "risk")
    broken = {**item, "spec": {**item["spec"], "replica": 1}}
    with pytest.raises(validator.ValidationError):
        validator.validate(broken, "1.32", strict=True)


@pytest.mark.parametrize("folder", RENDERED)
def test_objects_carry_the_recommended_labels_and_selectors_are_narrow(folder: str):
    for item in rendered(folder):
        if item["kind"] == "ConfigMap":
            continue
        where = f"{item['kind']} {item['metadata']['name']}"
        assert set(item["metadata"]["labels"]) >= LABELS, where
        if item["kind"] in WORKLOADS:
            assert set(item["spec"]["template"]["metadata"]["labels"]) >= LABELS, where
        if item["kind"] in ("Deployment", "StatefulSet"):
            wanted = {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
            assert set(item["spec"]["selector"]["matchLabels"]) == wanted, where


@pytest.mark.parametrize("folder", RENDERED)
def test_pods_fit_the_restricted_standard(folder: str):
    (namespace,) = of_kind(folder, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, pod in pods(folder).items():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name
        assert pod["automountServiceAccountToken"] is (name == "keys"), name
        kinds = {kind for volume in pod.get("volumes", ()) for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "emptyDir", "secret", "persistentVolumeClaim"}, name
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            resources = container["resources"]
            assert resources["limits"]["memory"] == resources["requests"]["memory"], name


@pytest.mark.parametrize("folder", RENDERED)
def test_secrets_are_files_and_only_their_readers_mount_them(folder: str):
    mounted: dict[str, set[str]] = {}
    for name, pod in pods(folder).items():
        for container in pod["containers"]:
            assert "envFrom" not in container, name
            for variable in container.get("env", ()):
                assert "valueFrom" not in variable, name
                assert not any(word in variable["name"] for word in ("PASSWORD", "TOKEN", "KEY")), name
        for volume in pod.get("volumes", ()):
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] == 0o400, name
                mounted.setdefault(volume["secret"]["secretName"], set()).add(name)
    expected = {f"tidegate-{name}": {name} for name in (*SERVICES, WATCHDOG, "redis")}
    assert mounted == expected | ({} if folder == "base" else {"tidegate-sim": {"sim"}})
    assert not of_kind(folder, "Secret")


@pytest.mark.parametrize("folder", RENDERED)
def test_secret_files_are_those_that_the_keys_are_made_as(folder: str):
    made = make_keys()
    for pod in pods(folder).values():
        for volume in pod.get("volumes", ()):
            for item in volume.get("secret", {}).get("items", ()):
                files = made[volume["secret"]["secretName"].removeprefix("tidegate-")]
                assert item["path"] in files
                assert item["key"] == item["path"].replace("/", ".")


@pytest.mark.parametrize("folder", RENDERED)
@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_probed_alone_and_given_time_to_end(folder: str, name: str):
    item = workload(folder, name)
    assert item["spec"]["replicas"] == 1
    if item["kind"] == "Deployment":
        assert item["spec"]["strategy"] == {"type": "Recreate"}
    pod = item["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == f"tidegate/{name}:dev"
    assert container["imagePullPolicy"] == "IfNotPresent"
    for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": "probes"}
    # 5 s for the last batch, 3 s recv_window, 2 s until an order is dead, and as much again
    assert pod["terminationGracePeriodSeconds"] >= (45 if name in ("risk", "execution") else 30)
    budget = one(folder, "PodDisruptionBudget", name)
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"]["matchLabels"] == item["spec"]["selector"]["matchLabels"]


@pytest.mark.parametrize("folder", RENDERED)
def test_the_watchdog_is_executions_image_with_another_key_and_hears_execution_alone(folder: str):
    pod = pods(folder)["watchdog"]
    (container,) = pod["containers"]
    assert container["image"] == "tidegate/execution:dev"
    assert container["command"] == ["python", "-m", "services.execution.watchdog"]
    assert {"name": "beats", "containerPort": 9099, "protocol": "UDP"} in container["ports"]
    (rule,) = one(folder, "NetworkPolicy", "beats")["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": one(folder, "NetworkPolicy", "beats-egress")["spec"]["podSelector"]}]
    files = {i["path"] for v in pod["volumes"] for i in v.get("secret", {}).get("items", ())}
    assert files == {"bus/watchdog", "watchdog.json"}


@pytest.mark.parametrize("name", ["risk", "execution"])
def test_risk_and_execution_are_stateful_sets(name: str):
    assert workload("base", name)["kind"] == "StatefulSet"


@pytest.mark.parametrize("folder", RENDERED)
def test_the_network_is_shut_but_for_what_is_named(folder: str):
    deny = one(folder, "NetworkPolicy", "default-deny")["spec"]
    assert (deny["podSelector"], deny["policyTypes"]) == ({}, ["Ingress", "Egress"])
    assert not deny.get("ingress")
    assert not deny.get("egress")
    venue = one(folder, "NetworkPolicy", "venue-egress")["spec"]
    assert venue["podSelector"]["matchExpressions"][0]["values"] == ["marketdata", "execution", "watchdog"]
    (rule,) = venue["egress"]
    if folder == "base":
        assert rule["ports"] == [{"port": 443, "protocol": "TCP"}]
        assert rule["to"][0]["ipBlock"]["except"]
    else:
        assert "ipBlock" not in rule["to"][0]
        assert rule["ports"] == [{"port": 8090, "protocol": "TCP"}]


@pytest.mark.parametrize("folder", RENDERED)
def test_services_find_their_pods(folder: str):
    names = {item["metadata"]["name"]: item["spec"]["template"] for item in of_kind(folder, *WORKLOADS)}
    for service in of_kind(folder, "Service"):
        template = names[service["metadata"]["name"]]
        assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        ports = {port["name"] for container in template["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@pytest.mark.parametrize("folder", RENDERED)
def test_the_mounted_settings_are_valid_and_are_the_rendered_ones(folder: str, tmp_path: Any):
    from cli.context import section_types
    from libs.common.settings import load

    (config,) = of_kind(folder, "ConfigMap")
    (tmp_path / "tidegate.toml").write_text(config["data"]["tidegate.toml"])
    settings = load(section_types(), tmp_path / "tidegate.toml", env={})
    assert settings.telemetry.probes_host == "0.0.0.0"
    ports = {port["containerPort"] for name in SERVICES for port in pods(folder)[name]["containers"][0]["ports"]}
    assert ports == {settings.telemetry.probes_port}
    assert tomllib.loads(config["data"]["tidegate.toml"])["bus"]["book_url"] == "redis://redis:6379/0"
    for pod in pods(folder).values():
        for volume in pod.get("volumes", ()):
            assert volume.get("configMap", {"name": config["metadata"]["name"]})["name"] == config["metadata"]["name"]


@pytest.mark.parametrize("folder", RENDERED)
def test_the_bus_forgets_nothing_and_is_full_before_the_kernel_ends_it(folder: str):
    (container,) = pods(folder)["redis"]["containers"]
    arguments = " ".join(container["args"])
    assert "--appendonly yes --appendfsync always" in arguments
    assert "--maxmemory-policy noeviction" in arguments
    assert int(arguments.split("--maxmemory ")[1].split("mb")[0]) < 1024
    assert container["resources"]["limits"]["memory"] == "1Gi"


@pytest.mark.parametrize("folder", RENDERED)
def test_the_bus_lets_nobody_in_who_is_not_on_its_list(folder: str):
    pod = pods(folder)["redis"]
    (container,) = pod["containers"]
    assert "--aclfile /keys/users.acl" in " ".join(container["args"])
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert "--user" in " ".join(container[probe]["exec"]["command"])
    assert {volume["name"] for volume in pod["volumes"]} >= {"keys"}


def test_the_demo_may_delete_the_secrets_it_makes_and_no_other():
    (named,) = (rule for rule in one("overlays/demo", "Role", "keys")["rules"] if "resourceNames" in rule)
    assert set(named["resourceNames"]) == {f"tidegate-{reader}" for reader in make_keys()}


def test_the_demo_needs_nothing_from_outside():
    assert not any(item["spec"].get("volumeClaimTemplates") for item in of_kind("overlays/demo", "StatefulSet"))
    job = one("overlays/demo", "Job", "keys")["spec"]["template"]["spec"]
    assert job["containers"][0]["command"][-1] == "--kubernetes"
    role = one("overlays/demo", "Role", "keys")
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"create", "delete"}
    assert {resource for rule in role["rules"] for resource in rule["resources"]} == {"secrets"}


def test_paper_keeps_what_it_writes():
    assert workload("overlays/paper", "redis")["spec"]["volumeClaimTemplates"]
    assert workload("overlays/paper", "monitor")["spec"]["volumeClaimTemplates"]
    volumes = {volume["name"]: volume for volume in pods("overlays/paper")["sim"]["volumes"]}
    assert "persistentVolumeClaim" in volumes["state"]
