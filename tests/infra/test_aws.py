"""The cluster file of `ray up` and the CloudFormation templates, without AWS."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError

from sweep.engine.growth import CPUS, GPUS, NODES
from sweep.store.backend import RESERVED
from tests.source_files import ROOT

AWS = ROOT / "infra/aws"
WORKERS = ("spot", "on-demand")


def filled(text: str) -> str:
    """The cluster file with a word in each gap."""
    gaps = set(re.findall(r"\$\{(\w+)\}", text))
    return Template(text).safe_substitute({name: name.lower() for name in gaps} | {"Region": "us-east-1"})


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, Any]:
    config = yaml.safe_load(filled((AWS / "cluster.yaml").read_text()))
    config["auth"]["ssh_private_key"] = str(tmp_path / "key")
    (tmp_path / "key").touch()
    return config


def checked(config: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` makes of a file before it asks AWS."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    whole = prepare_config(copy.deepcopy(config))
    validate_config(whole)
    return whole


def lint(*files: Path) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).with_name("cfn-lint")
    return subprocess.run([tool, *files], capture_output=True, text=True, timeout=120)


def test_cfn_lint_accepts_the_templates_and_sees_a_fault(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text((AWS / "stack.yaml").read_text().replace("StorageEncrypted:", "StorageEncripted:"))
    done = lint(AWS / "stack.yaml", AWS / "roles.yaml", broken)
    assert set(re.findall(r"^(\S+\.yaml):\d", done.stdout, re.MULTILINE)) == {str(broken)}, done.stdout
    assert "StorageEncripted" in done.stdout


def test_ray_accepts_the_cluster_file(cluster: dict[str, Any]) -> None:
    assert checked(cluster)["head_node_type"] == "head"


@pytest.mark.parametrize(
    ("name", "value"), [("max_wrokers", 2), ("head_node_type", "haed"), ("auth", {"ssh_usr": "ubuntu"})]
)
def test_ray_sees_a_fault(cluster: dict[str, Any], name: str, value: Any) -> None:
    with pytest.raises((ValidationError, ValueError, KeyError)):
        checked(cluster | {name: value})


def test_the_head_says_how_far_the_cluster_grows(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    labels = types["head"]["labels"]
    assert int(labels[NODES]) == cluster["max_workers"]
    for name in WORKERS:
        assert types[name]["resources"] == {"CPU": int(labels[CPUS]), "GPU": int(labels[GPUS])}
        assert (types[name]["min_workers"], types[name]["max_workers"]) == (0, cluster["max_workers"])


def test_every_node_is_closed_and_encrypted(cluster: dict[str, Any]) -> None:
    assert cluster["provider"]["use_internal_ips"]
    for kind in cluster["available_node_types"].values():
        node = kind["node_config"]
        assert node["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
        assert all(disk["Ebs"]["Encrypted"] for disk in node["BlockDeviceMappings"])
        assert node["IamInstanceProfile"]["Arn"]
        assert node["SubnetIds"]
    profiles = {
        name: kind["node_config"]["IamInstanceProfile"]["Arn"] for name, kind in cluster["available_node_types"].items()
    }
    assert profiles == {"head": "headprofile", "spot": "workerprofile", "on-demand": "workerprofile"}


def test_the_head_keeps_to_itself_and_costs_no_gpu(cluster: dict[str, Any]) -> None:
    head = cluster["available_node_types"]["head"]
    assert head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    start = " ".join(cluster["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start
    assert "--num-cpus=0" in start


def test_workers_watch_for_the_spot_notice(cluster: dict[str, Any]) -> None:
    """After Ray has started; the script is among the files of prepare.py, which another test runs."""
    *_, ray_start, watch = checked(cluster)["worker_start_ray_commands"]
    assert "ray start" in ray_start
    assert "~/aws/spot_notice.py" in watch
    assert watch.endswith("&")


@pytest.mark.parametrize(("failed", "chosen"), [({}, "spot"), ({"spot": 0.0}, "on-demand"), ({"spot": 1.0}, "spot")])
def test_spot_comes_first_and_on_demand_when_aws_has_none(
    cluster: dict[str, Any], failed: dict[str, float], chosen: str
) -> None:
    """Ray's own scheduler, asked for a GPU; `failed` is how far a node type has recovered from a failed launch."""
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil
    from ray.core.generated import autoscaler_pb2

    protocol: Any = autoscaler_pb2
    config = AutoscalingConfig(cluster, skip_content_hash=True)
    demand = protocol.ResourceRequestByCount(request=ResourceRequestUtil.make({"CPU": 8, "GPU": 1}), count=3)
    request = SchedulingRequest(
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=config.get_max_num_nodes(),
        disable_launch_config_check=True,
        resource_requests=[demand],
        recoverable_resource_availabilities=failed,
        cloud_resource_availabilities=failed,
    )
    reply = ResourceDemandScheduler(None).schedule(request)  # pyright: ignore[reportArgumentType]
    assert {launch.instance_type: launch.count for launch in reply.to_launch} == {chosen: 3}


def test_a_larger_worker_fits_no_node(cluster: dict[str, Any]) -> None:
    """So the test above can fail."""
    cluster["available_node_types"]["spot"]["resources"]["GPU"] = 0
    with pytest.raises(AssertionError):
        test_spot_comes_first_and_on_demand_when_aws_has_none(cluster, {}, "spot")


def test_no_password_or_token_is_written_in_the_files() -> None:
    for file in AWS.iterdir():
        text = file.read_text()
        assert not re.search(r"AKIA[0-9A-Z]{16}|//[\w-]+:[^@\s{$]+@", text), file
        assert "RAY_AUTH_TOKEN=" not in text, file


def test_only_names_that_the_store_can_lose_expire() -> None:
    from cfnlint.decode import cfn_yaml

    bucket = cfn_yaml.load(str(AWS / "stack.yaml"))["Resources"]["Bucket"]["Properties"]
    rules = bucket["LifecycleConfiguration"]["Rules"]
    names = {rule["Prefix"].removeprefix("metsweep/").rstrip("/") for rule in rules if "Prefix" in rule}
    assert names == {"tmp", "damaged"}
    assert names <= RESERVED
    assert all("Prefix" in rule for rule in rules if "ExpirationInDays" in rule)
