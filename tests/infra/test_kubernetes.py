"""infra/kubernetes as Kustomize renders it: valid, closed, and large enough for the study that it launches."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from sweep.engine.jobs import SECONDS_TO_STOP, STUDY
from tests.infra.tools import INFRA, run_tool
from tests.source_files import ROOT

KUBERNETES = INFRA / "kubernetes"
CLUSTERS = ("base", "overlays/gpu-spot", "overlays/kueue")
RENDERED = (*CLUSTERS, "study")
VERSION = "1.35"
CUSTOM = yaml.safe_load((ROOT / "tests/infra/custom_resources.yaml").read_text())
CHART_KEYS = {
    "deploymentStrategy", "env", "envFrom", "extraInitContainers", "extraVolumeMounts", "extraVolumes",
    "fullnameOverride", "image.repository", "image.tag", "mlflow.backendStoreUriFrom", "podLabels",
    "podSecurityContext", "resources", "securityContext", "server.value_options", "serviceAccount.name",
}  # fmt: skip
"""Values of MLflow's chart 0.1.1 that ours set."""
SECRET_NAME = re.compile(r"TOKEN|PASSWORD|SECRET|ACCESS_KEY|(STORAGE|STORE_URI|^URI)$")


@functools.cache
def rendered(folder: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(run_tool("kubectl", "kustomize", KUBERNETES / folder)))


def kind(folder: str, name: str) -> list[dict[str, Any]]:
    return [item for item in rendered(folder) if item["kind"] == name]


def templates(folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, pod template) of everything that makes pods; labels as KubeRay sets them."""
    for item in rendered(folder):
        spec, name = item.get("spec", {}), item["metadata"]["name"]
        if item["kind"] == "RayCluster":
            groups = [("head", spec["headGroupSpec"]), *(("worker", group) for group in spec["workerGroupSpecs"])]
            for node, group in groups:
                labels = {"ray.io/cluster": name, "ray.io/node-type": node}
                labels |= group["template"].get("metadata", {}).get("labels", {})
                yield f"{name} {group.get('groupName', 'head')}", {**group["template"], "metadata": {"labels": labels}}
        elif item["kind"] == "RayJob":
            labels = {"ray.io/originated-from-crd": "RayJob"}
            yield f"{name} submitter", {**spec["submitterPodTemplate"], "metadata": {"labels": labels}}
        elif "template" in spec:
            yield name, spec["template"]


def containers(folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, template in templates(folder):
        spec = template["spec"]
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            yield f"{name}: {container['name']}", container
    for cluster in kind(folder, "RayCluster"):
        yield "autoscaler", cluster["spec"]["autoscalerOptions"]


def validate(item: dict[str, Any]) -> None:
    """Raises where an object is not valid, or has a field that is unknown."""
    if item["kind"] in CUSTOM:
        jsonschema.validate(item.get("spec", {}), CUSTOM[item["kind"]])
    else:
        kubernetes_validate.validate(item, VERSION, strict=True)


@pytest.mark.parametrize("folder", RENDERED)
def test_objects_are_valid(folder: str) -> None:
    for item in rendered(folder):
        validate(item)
    for name, template in templates(folder):
        pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": name.replace(" ", "-")}}
        kubernetes_validate.validate(pod, VERSION, strict=True)


@pytest.mark.parametrize(
    ("right", "wrong"), [("maxReplicas", "maxReplicaz"), ("authOptions", "authOption"), ("image", "imag")]
)
def test_misspelt_fields_are_refused(right: str, wrong: str) -> None:
    text = yaml.safe_dump(kind("base", "RayCluster")[0])
    cluster = yaml.safe_load(text.replace(f"{right}:", f"{wrong}:"))
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "head"},
        **cluster["spec"]["headGroupSpec"]["template"],
    }
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        [validate(item) for item in (cluster, pod)]


@pytest.mark.parametrize("folder", RENDERED)
def test_pods_are_locked_down(folder: str) -> None:
    for name, template in templates(folder):
        context = template["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not [volume for volume in template["spec"].get("volumes", ()) if "hostPath" in volume], name
    for name, container in containers(folder):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
        assert "memory" in container["resources"]["limits"], name
        assert any(mount["mountPath"] == "/tmp" for mount in container["volumeMounts"]), name


@pytest.mark.parametrize("folder", RENDERED)
def test_secrets_are_only_referred_to(folder: str) -> None:
    assert not kind(folder, "Secret")
    assert not re.search(r"://[^/\s]+:[^/\s]+@", yaml.safe_dump_all(rendered(folder)))
    for name, container in containers(folder):
        for variable in container.get("env", ()):
            literal = SECRET_NAME.search(variable["name"]) and "value" in variable
            assert not literal or variable["name"].endswith("_FILE"), f"{name}: {variable['name']}"


def test_secrets_that_are_referred_to_are_made() -> None:
    made = {
        item["metadata"]["name"]: item["stringData"]
        for item in yaml.safe_load_all(run_tool(str(KUBERNETES / "secrets.sh")))
    }
    texts = [yaml.safe_dump_all(rendered("base")), (KUBERNETES / "mlflow.values.yaml").read_text()]
    named = {name for text in texts for name in re.findall(r"secretName: ([\w-]+)", text)}
    keys = re.findall(r"secretKeyRef: \{name: ([\w-]+), key: ([\w-]+)\}", texts[1])
    assert named | {name for name, _ in keys} | {"driver"} == made.keys()
    assert len(keys) == 5
    assert all(made[name][key] for name, key in keys)
    assert "auth_token" in made["ray-token"]
    drawn = (made["ray-token"]["auth_token"], made["postgres"]["password"], made["mlflow"]["admin-password"])
    assert len({*drawn, made["driver"]["MLFLOW_TRACKING_PASSWORD"]}) == 4


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    exist = {rule["key"] for rule in selector.get("matchExpressions", ()) if rule["operator"] == "Exists"}
    return selector.get("matchLabels", {}).items() <= labels.items() and exist <= labels.keys()


@pytest.mark.parametrize("folder", CLUSTERS)
def test_network_is_closed_but_for_what_is_listed(folder: str) -> None:
    policies = [policy["spec"] for policy in kind(folder, "NetworkPolicy")]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    ray = {"podSelector": {"matchLabels": {"ray.io/cluster": "metsweep"}}}
    (among_nodes,) = [policy for policy in policies if policy["podSelector"] == ray["podSelector"]]
    assert {"from": [ray]} in among_nodes["ingress"], "Ray's nodes use any port among themselves"
    assert {"to": [ray]} in among_nodes["egress"]
    for name, template in templates(folder):
        labels = template["metadata"]["labels"]
        own = [policy for policy in policies if policy["podSelector"] and selects(policy["podSelector"], labels)]
        admitted = [rule for policy in own for rule in policy.get("ingress", ())]
        assert admitted, f"{name} is reached by nobody"
        assert all(rule.get("from") for rule in admitted), f"{name} is reached by everybody"
    for service in kind(folder, "Service"):
        reached = [
            policy for policy in policies if policy["podSelector"] == {"matchLabels": service["spec"]["selector"]}
        ]
        ports = {port["port"] for policy in reached for rule in policy["ingress"] for port in rule["ports"]}
        assert {port["port"] for port in service["spec"]["ports"]} <= ports, service["metadata"]["name"]


def test_metadata_service_is_out_of_reach() -> None:
    for policy in kind("overlays/gpu-spot", "NetworkPolicy"):
        blocks = [
            to["ipBlock"] for rule in policy["spec"].get("egress", ()) for to in rule.get("to", ()) if "ipBlock" in to
        ]
        everywhere = [block for block in blocks if block["cidr"] == "0.0.0.0/0"]
        assert all(block.get("except") == ["169.254.169.254/32"] for block in everywhere), policy["metadata"]["name"]


@pytest.mark.parametrize("folder", CLUSTERS)
def test_groups_hold_the_study_and_scale_to_zero(folder: str) -> None:
    (cluster,) = kind(folder, "RayCluster")
    (job,) = kind("study", "RayJob")
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    fidelity = yaml.safe_load((ROOT / "search_spaces/fidelities/gpu.yaml").read_text())
    assert "--fidelity gpu" in job["spec"]["entrypoint"]
    head, (group,) = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert group["minReplicas"] == group["replicas"] == 0
    gpus = group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    cpus = group["rayStartParams"]["num-cpus"]
    assert head["labels"] == {
        "metsweep/nodes": str(group["maxReplicas"]),
        "metsweep/node-cpus": cpus,
        "metsweep/node-gpus": gpus,
    }
    for resources in fidelity["resources"].values():
        assert resources["cpus_per_worker"] <= int(cpus)
        assert resources["gpus_per_worker"] <= int(gpus)


@pytest.mark.parametrize("folder", CLUSTERS)
def test_nodes_have_the_cohort_and_time_for_a_checkpoint(folder: str) -> None:
    (job,) = kind("study", "RayJob")
    path = job["spec"]["entrypoint"].partition("--cohort ")[2].split()[0]
    for name, template in templates(folder):
        if "ray.io/cluster" not in template["metadata"]["labels"]:
            continue
        spec = template["spec"]
        (ray,), (copy,) = spec["containers"], spec["initContainers"]
        assert {"name": "cohort", "mountPath": path, "readOnly": True} in ray["volumeMounts"], name
        assert copy["args"][-1] == path, name
        variables = {variable["name"]: variable.get("value") for variable in ray["env"]}
        drained = float(variables["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        assert drained < spec["terminationGracePeriodSeconds"], name


def test_the_job_is_known_by_its_study_and_has_time_for_a_checkpoint() -> None:
    (job,) = kind("study", "RayJob")
    study = job["spec"]["entrypoint"].split()[2]
    assert job["metadata"]["name"] == study
    assert job["spec"]["metadata"] == {STUDY: study}
    variables = yaml.safe_load(job["spec"]["runtimeEnvYAML"])["env_vars"]
    assert variables == {"RAY_JOB_STOP_WAIT_TIME_S": str(SECONDS_TO_STOP)}


@pytest.mark.parametrize("folder", ["overlays/gpu-spot", "overlays/kueue"])
def test_pods_prefer_spot_nodes_of_each_provider_and_never_require_them(folder: str) -> None:
    (cluster,) = kind(folder, "RayCluster")
    (group,) = cluster["spec"]["workerGroupSpecs"]
    affinity = group["template"]["spec"]["affinity"]["nodeAffinity"]
    assert affinity.keys() == {"preferredDuringSchedulingIgnoredDuringExecution"}
    preferences = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    rules = [rule for item in preferences for rule in item["preference"]["matchExpressions"]]
    assert {rule["key"]: rule.get("values") for rule in rules} == {
        "karpenter.sh/capacity-type": ["spot"],
        "eks.amazonaws.com/capacityType": ["SPOT"],
        "cloud.google.com/gke-spot": None,
        "kubernetes.azure.com/scalesetpriority": None,
    }


def test_pods_ask_for_the_disk_that_they_fill() -> None:
    for name, template in templates("base"):
        for container in template["spec"]["containers"]:
            if container["name"].startswith("ray-"):
                assert "ephemeral-storage" in container["resources"]["requests"], name


def test_values_of_mlflow() -> None:
    values = yaml.safe_load((KUBERNETES / "mlflow.values.yaml").read_text())
    nested = ("image", "mlflow", "server", "serviceAccount")
    keys = {f"{key}.{inner}" for key in nested for inner in values[key]} | (values.keys() - {*nested})
    assert keys == CHART_KEYS
    options = values["server"]["value_options"]
    assert options["workers"] == 1
    assert options["app_name"] == "basic-auth"
    environment = kind("base", "RayCluster")[0]["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]
    (address,) = [variable["value"] for variable in environment if variable["name"] == "MLFLOW_TRACKING_URI"]
    assert address.removeprefix("http://") in options["allowed_hosts"].split(",")
    assert address == f"http://{values['fullnameOverride']}:{options['port']}"
