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
}  # fmt: skip
"""What CloudFormation would fill in."""
BUCKET = "arn:aws:s3:::our-bucket"
SECRET = VALUES["base-Secret"]
INSTANCE = "arn:aws:ec2:us-east-1:1:instance/i-1"


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
        ("ReaderRole", "s3:GetObject", f"{BUCKET}/metsweep/files/x", True),
        ("ReaderRole", "s3:GetObject", f"{BUCKET}/cohort/p1.nii.gz", False),
        ("ReaderRole", "s3:PutObject", f"{BUCKET}/metsweep/files/x", False),
        ("ReaderRole", "s3:DeleteObject", f"{BUCKET}/metsweep/files/x", False),
    ],
)
def test_who_may_do_what(role: str, action: str, resource: str, allowed: bool) -> None:
    assert any(covers(statement, action, resource) for statement in statements(role)) == allowed


def test_nodes_are_ended_by_their_tag_and_started_closed() -> None:
    conditions = {
        action: [item.get("Condition") for item in statements("HeadRole") if covers(item, action, INSTANCE)]
        for action in ("ec2:TerminateInstances", "ec2:RunInstances")
    }
    ours = {"aws:RequestTag/ray-cluster-name": "metsweep", "ec2:MetadataHttpTokens": "required"}
    assert conditions == {
        "ec2:TerminateInstances": [{"StringEquals": {"aws:ResourceTag/ray-cluster-name": "metsweep"}}],
        "ec2:RunInstances": [{"StringEquals": ours}],
    }


def test_every_statement_allows() -> None:
    """What is read here knows no denial."""
    for role in ("WorkerRole", "HeadRole", "ReaderRole"):
        assert {statement["Effect"] for statement in statements(role)} == {"Allow"}


@cache
def resources() -> Mapping[str, Any]:
    return cfn_yaml.load(str(ROOT / "infra/aws/roles.yaml"))["Resources"]


def statements(role: str) -> list[dict[str, Any]]:
    """Every statement of a role's own and attached policies."""
    own = resources()[role]["Properties"]
    documents = [policy["PolicyDocument"] for policy in own.get("Policies", [])]
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
