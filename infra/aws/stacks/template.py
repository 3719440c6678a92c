"""The template as it is sent to CloudFormation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

TEMPLATE: Final = Path(__file__).parents[2] / "templates" / "pipeline.yaml"
MOST_BYTES: Final = 51_200
"""Of a template in a request ("CloudFormation quotas",
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html)."""
_KEPT: Final = re.compile(r'((?:TableName|BucketName|LogGroupName): )!Sub ("[^"\n]*")')


def with_fixed_names(text: str, stack: str, account: str, region: str) -> str:
    """The template with the names of tables, buckets and log groups written out.

    CloudFormation takes over what exists only under a static custom name; one that a function
    makes does not count ("Import AWS resources into a CloudFormation stack automatically",
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/import-resources-automatically.html).

    >>> with_fixed_names('TableName: !Sub "${AWS::StackName}-windows"', "plant-7", "1", "x")
    'TableName: "plant-7-windows"'
    """
    values = {"AWS::StackName": stack, "AWS::AccountId": account, "AWS::Region": region}

    def fixed(match: re.Match[str]) -> str:
        name = re.sub(r"\$\{(.*?)\}", lambda one: values.get(one[1], one[0]), match[2])
        return match[0] if "${" in name else match[1] + name

    return _KEPT.sub(fixed, text)


def without_comments(text: str) -> str:
    """The template without lines that hold a comment or nothing: a request takes
    :data:`MOST_BYTES`, and the file explains more than that."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if line.strip() and not line.lstrip().startswith("#"))
