"""Makes a folder with everything that `ray up` needs, from the two CloudFormation stacks.

python infra/aws/prepare.py STACK KEY FOLDER [REGION]

STACK is the name of the stack of stack.yaml (that of roles.yaml is STACK-roles), KEY the private half of its ssh key.
The folder holds cluster.yaml, the key, Ray's token, made anew unless the folder has one, and what the nodes run.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from pathlib import Path
from string import Template

import boto3

HERE = Path(__file__).parent
CERTIFICATES = "postgresql/root.crt"


def prepare(stack: str, key: Path, folder: Path, region: str) -> None:
    """Fill the folder; exits with a sentence where something is missing."""
    client = boto3.client("cloudformation", region_name=region)
    values = {"Cluster": "metsweep", "Region": region, "Folder": str(folder.absolute())}
    for name in (stack, f"{stack}-roles"):
        outputs = client.describe_stacks(StackName=name)["Stacks"][0].get("Outputs", [])
        values |= {output["OutputKey"]: output["OutputValue"] for output in outputs}
    text = Template((HERE / "cluster.yaml").read_text()).safe_substitute(values)
    if missing := sorted(set(re.findall(r"\$\{(\w+)\}", text))):
        sys.exit(f"The stacks {stack} and {stack}-roles have no output {', '.join(missing)}; update them.")
    for part in ("ray", "postgresql", "aws"):
        (folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "cluster.yaml").write_text(text)
    for script in ("databases.py", "spot_notice.py"):
        shutil.copy(HERE / script, folder / "aws")
    _write_private(folder / "key", key.read_text())
    if not (folder / "ray/auth_token").exists():
        _write_private(folder / "ray/auth_token", secrets.token_hex(32))


def _write_private(file: Path, content: str) -> None:
    """Make or replace a file that only this user may read, from its first moment on."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(content)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    target = Path(sys.argv[3])
    prepare(sys.argv[1], Path(sys.argv[2]), target, sys.argv[4] if len(sys.argv) == 5 else "us-east-1")
    if not (target / CERTIFICATES).exists():
        print(f"Still to do: store the certificates of Amazon's databases as {target / CERTIFICATES} (README.md).")
    print(f"Next: ray up {target / 'cluster.yaml'}")
