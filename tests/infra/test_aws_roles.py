"""What each role of the AWS cluster may do, read from the templates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import pytest
from cfnlint.decode import cfn_yaml

from tests.source_files import ROOT

VALUES = {
    "AWS::Partition": "aws", "AWS::Region": "us-east-1", "AWS::AccountId": "1", "Base": "base", "Cluster": "metsweep",
    "base-Bucket": "our-bucket", "base-Secret": "arn:aws:secretsmanager:us-east-1:1:secret:ours",
    "base-ImagesArn": "arn:aws:ecr:us-east-1:1:repository/ours", "WorkerRole.Arn": "arn:aws:iam::1:role/worker",
    "HeadRole.Arn": "arn:aws:iam::1:role/head",
    "base-SubnetAArn": "arn:aws:ec2:us-east-1:1:subnet/subnet-a",
    "base-SubnetBArn": "arn:aws:ec2:us-east-1:1:subnet/subnet-b",
    "base-NodeGroupArn": "arn:aws:ec2:us-east-1:1:security-group/sg-nodes",
    "base-DoorArn": "arn:aws:ec2:us-east-1:1:instance-connect-endpoint/eice-door",
}  # fmt: skip
"""What CloudFormation would fill in."""
BUCKET = "arn:aws:s3:::our-bucket"
SECRET = VALUES["base-Secret"]
EC2 = "arn:aws:ec2:us-east-1:1:"
INSTANCE = f"{EC2}instance/i-1"


@pytest.mark.parametrize(
    ("role", "action", "resource", "allowed"),
    [
        ("WorkerRole", "s3:DeleteObject", f"{BUCKET}/metsweep/leases/x", True),
        ("WorkerRole", "s3:PutObject", f"{BUCKET}/metsweep/files/x", True),
        ("WorkerRole", "s3:GetObject", f"{BUCKET}/cohort/p1.nii.gz", True),
        ("WorkerRole", "s3:ListBucket", BUCKET, True),
        ("WorkerRole", "s3:DeleteObject", f"{BUCKET}/cohort/p1.nii.gz", False),
        ("WorkerRole", "s3:PutObject", f"{BUCKET}/cohort/p1.nii.gz", False),
        ("WorkerRole", "s3:DeleteObject", f"{BUCKET}/elsewhere", False),
        ("WorkerRole", "s3:GetObject", "arn:aws:s3:::another-bucket/metsweep/x", False),
        ("WorkerRole", "s3:DeleteBucket", BUCKET, False),
        ("WorkerRole", "s3:PutBucketPolicy", BUCKET, False),
        ("WorkerRole", "secretsmanager:GetSecretValue", SECRET, False),
        ("WorkerRole", "ec2:RunInstances", INSTANCE, False),
        ("WorkerRole", "iam:PassRole", VALUES["WorkerRole.Arn"], False),
        ("HeadRole", "secretsmanager:GetSecretValue", SECRET, True),
        ("HeadRole", "secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-east-1:1:secret:other", False),
        ("HeadRole", "iam:PassRole", VALUES["WorkerRole.Arn"], True),
        ("HeadRole", "iam:PassRole", VALUES["HeadRole.Arn"], False),
        ("HeadRole", "iam:CreateRole", "*", False),
        ("HeadRole", "ec2:RunInstances", f"{EC2}subnet/subnet-a", True),
        ("HeadRole", "ec2:RunInstances", f"{EC2}subnet/subnet-b", True),
        ("HeadRole", "ec2:RunInstances", f"{EC2}subnet/subnet-of-another-network", False),
        ("HeadRole", "ec2:RunInstances", f"{EC2}security-group/sg-nodes", True),
        ("HeadRole", "ec2:RunInstances", f"{EC2}security-group/sg-open", False),
        ("HeadRole", "ec2-instance-connect:OpenTunnel", VALUES["base-DoorArn"], False),
        ("OperatorPolicy", "ec2-instance-connect:OpenTunnel", VALUES["base-DoorArn"], True),
        ("OperatorPolicy", "ec2-instance-connect:OpenTunnel", f"{EC2}instance-connect-endpoint/eice-other", False),
        ("OperatorPolicy", "iam:PassRole", VALUES["HeadRole.Arn"], True),
        ("OperatorPolicy", "iam:PassRole", "arn:aws:iam::1:role/administrator", False),
        ("ReaderRole", "s3:GetObject", f"{BUCKET}/metsweep/files/x", True),
        ("ReaderRole", "s3:GetObject", f"{BUCKET}/cohort/p1.nii.gz", False),
        ("ReaderRole", "s3:PutObject", f"{BUCKET}/metsweep/files/x", False),
        ("ReaderRole", "s3:DeleteObject", f"{BUCKET}/metsweep/files/x", False),
    ],
)
def test_who_may_do_what(role: str, action: str, resource: str, allowed: bool) -> None:
    assert any(covers(statement, action, resource) for statement in statements(role)) == allowed


OURS = {"aws:RequestTag/ray-cluster-name": "metsweep", "ec2:MetadataHttpTokens": "required"}


@pytest.mark.parametrize(
    ("role", "action", "resource", "condition"),
    [
        ("HeadRole", "ec2:RunInstances", INSTANCE, {"StringEquals": OURS}),
        ("HeadRole", "ec2:TerminateInstances", INSTANCE,
         {"StringEquals": {"aws:ResourceTag/ray-cluster-name": "metsweep"}}),
        ("HeadRole", "ec2:RunInstances", "arn:aws:ec2:us-east-1::image/ami-1",
         {"StringEquals": {"ec2:Owner": "amazon"}}),
        ("HeadRole", "ec2:RunInstances", f"{EC2}network-interface/eni-1",
         {"ArnEquals": {"ec2:Subnet": [VALUES["base-SubnetAArn"], VALUES["base-SubnetBArn"]]}}),
        ("OperatorPolicy", "ec2-instance-connect:OpenTunnel", VALUES["base-DoorArn"],
         {"NumericEquals": {"ec2-instance-connect:remotePort": "22"}}),
    ],
)  # fmt: skip
def test_what_is_allowed_under_a_condition(role: str, action: str, resource: str, condition: Mapping[str, Any]) -> None:
    conditions = [item.get("Condition") for item in statements(role) if covers(item, action, resource)]
    assert conditions == [condition]


def test_what_the_roles_import_is_exported() -> None:
    exported = {
        resolved(output["Export"]["Name"], {"AWS::StackName": "base"})
        for output in cfn_yaml.load(str(ROOT / "infra/aws/stack.yaml"))["Outputs"].values()
        if "Export" in output
    }
    assert exported == {name for name in VALUES if name.startswith("base-")}


def test_every_statement_allows() -> None:
    """What is read here knows no denial."""
    for role in ("WorkerRole", "HeadRole", "ReaderRole", "OperatorPolicy"):
        assert {statement["Effect"] for statement in statements(role)} == {"Allow"}


@cache
def resources() -> Mapping[str, Any]:
    return cfn_yaml.load(str(ROOT / "infra/aws/roles.yaml"))["Resources"]


def statements(role: str) -> list[dict[str, Any]]:
    """Every statement of a role's own and attached policies, or of a policy."""
    own = resources()[role]["Properties"]
    documents = [policy["PolicyDocument"] for policy in (own, *own.get("Policies", [])) if "PolicyDocument" in policy]
    documents += [resources()[arn["Ref"]]["Properties"]["PolicyDocument"] for arn in own.get("ManagedPolicyArns", [])]
    return [resolved(statement) for document in documents for statement in document["Statement"]]


def resolved(node: Any, values: Mapping[str, str] = VALUES) -> Any:
    """A part of a template with CloudFormation's functions carried out."""
    if isinstance(node, list):
        return [resolved(item, values) for item in node]
    if not isinstance(node, dict):
        return node
    if "Ref" in node:
        return values[node["Ref"]]
    if "Fn::GetAtt" in node:
        return values[".".join(node["Fn::GetAtt"])]
    if "Fn::ImportValue" in node:
        return values[resolved(node["Fn::ImportValue"], values)]
    if "Fn::Sub" in node:
        text, more = node["Fn::Sub"] if isinstance(node["Fn::Sub"], list) else (node["Fn::Sub"], {})
        known = {**values, **resolved(more, values)}
        return re.sub(r"\$\{([^}]+)\}", lambda match: known[match[1]], text)
    return {key: resolved(value, values) for key, value in node.items()}


def covers(statement: Mapping[str, Any], action: str, resource: str) -> bool:
    actions, targets = (
        [value] if isinstance(value, str) else value for value in (statement["Action"], statement["Resource"])
    )
    return any(fnmatchcase(action, text) for text in actions) and any(fnmatchcase(resource, text) for text in targets)
