"""`ray up` as far as it goes against moto, a simulation of AWS: stacks, cluster file, nodes."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from runpy import run_path
from typing import Any

import boto3
import pytest
import yaml
from botocore.config import Config

from tests.source_files import ROOT

pytestmark = pytest.mark.slow
AWS = ROOT / "infra/aws"
REGION = "us-east-1"
STACK = "metsweep"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The simulation, and an environment that reaches nothing else."""
    folder = tmp_path_factory.mktemp("moto")
    log = folder / "log.txt"
    with log.open("wb") as output, pytest.MonkeyPatch.context() as patch:
        server = subprocess.Popen(
            [Path(sys.executable).with_name("moto_server"), "--port", "0"], stdout=output, stderr=output
        )
        try:
            address = _address(server, log)
            patch.setenv("AWS_ENDPOINT_URL", address)
            patch.setenv("AWS_ACCESS_KEY_ID", "testing")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
            patch.setenv("AWS_DEFAULT_REGION", REGION)
            patch.setenv("HOME", str(folder))
            yield address
        finally:
            server.kill()
            server.wait()


def _address(server: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 60
    while "Running on " not in log.read_text():
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return log.read_text().split("Running on ")[1].split()[0]


@pytest.fixture(scope="module")
def stacks(aws: str) -> list[str]:
    """Names of the stacks, made as README.md says."""
    assert aws.startswith("http://127.0.0.1:")
    image = boto3.client("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    boto3.client("ssm").put_parameter(Name="/test/image", Value=image, Type="String")
    secret = boto3.client("secretsmanager").create_secret(Name="database", SecretString="{}")["ARN"]
    # Once: on a busy machine a second try would find what the first one is still making.
    formation = boto3.client("cloudformation", config=Config(read_timeout=600, retries={"total_max_attempts": 1}))
    for name, file, parameters in (
        (STACK, "stack.yaml", {"SshPublicKey": "ssh-ed25519 AAAA test", "NodeImage": "/test/image"}),
        (f"{STACK}-roles", "roles.yaml", {"Base": STACK}),
    ):
        formation.create_stack(
            StackName=name,
            TemplateBody=_for_moto((AWS / file).read_text(), secret),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )
        made = formation.describe_stacks(StackName=name)["Stacks"][0]
        assert made["StackStatus"] == "CREATE_COMPLETE", made
    return [STACK, f"{STACK}-roles"]


def _for_moto(template: str, secret: str) -> str:
    """Without what moto lacks: Amazon's own machine images, and secrets and key pairs in a stack."""
    template = re.sub(r"/aws/service/\S+", "/test/image", template)
    return template.replace("Value: !Ref DatabaseSecret", f'Value: "{secret}"').replace(
        "Value: !Ref Key}", "Value: key}"
    )


@pytest.fixture(scope="module")
def folder(stacks: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What prepare.py makes."""
    assert stacks
    root = tmp_path_factory.mktemp("prepared")
    (root / "private").write_text("a private key")
    done = prepare(root)
    assert done.returncode == 0, done.stderr
    return root / "cluster"


def prepare(root: Path, stack: str = STACK) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, AWS / "prepare.py", stack, root / "private", root / "cluster", REGION]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_prepared_folder_is_private_and_keeps_its_token(folder: Path) -> None:
    token = (folder / "ray/auth_token").read_text()
    assert len(token) == 64
    assert prepare(folder.parent).returncode == 0
    assert (folder / "ray/auth_token").read_text() == token
    for name in ("key", "ray/auth_token"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert token not in (folder / "cluster.yaml").read_text()
    assert {path.name for path in (folder / "aws").iterdir()} == {"databases.py", "spot_notice.py"}


@pytest.mark.usefixtures("aws")
def test_the_password_goes_from_the_secret_to_a_private_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login = json.dumps({"username": "metsweep", "password": "planted"})
    secret = boto3.client("secretsmanager").create_secret(Name="login", SecretString=login)["ARN"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run_path(str(AWS / "databases.py"))["write_password"]("db.example.org", secret) == "metsweep"
    assert (tmp_path / ".pgpass").read_text() == "db.example.org:*:*:metsweep:planted\n"
    assert stat.S_IMODE((tmp_path / ".pgpass").stat().st_mode) == 0o600


def test_ray_launches_and_ends_the_nodes(folder: Path) -> None:
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((folder / "cluster.yaml").read_text()))
    validate_config(config)
    config = bootstrap_aws(config)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for kind in ("head", "spot", "on-demand"):
        tags = {"ray-node-type": "worker", "ray-user-node-type": kind, "ray-node-name": kind}
        provider.create_node(config["available_node_types"][kind]["node_config"], tags, 1)
    instances = {
        name["Value"]: item for item in _instances() for name in item["Tags"] if name["Key"] == "ray-user-node-type"
    }
    assert set(instances) == {"head", "spot", "on-demand"}
    assert [kind for kind, item in instances.items() if item.get("InstanceLifecycle") == "spot"] == ["spot"]
    for kind, item in instances.items():
        assert item["MetadataOptions"]["HttpTokens"] == "required", kind
        assert not item.get("PublicIpAddress"), kind
    for node in provider.non_terminated_nodes({}):
        provider.terminate_node(node)
    assert {item["State"]["Name"] for item in _instances()} <= {"terminated", "shutting-down"}


def _instances() -> list[dict[str, Any]]:
    reservations = boto3.client("ec2").describe_instances()["Reservations"]
    return [instance for reservation in reservations for instance in reservation["Instances"]]
