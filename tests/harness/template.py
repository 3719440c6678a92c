"""A template as CloudFormation would read it, for one stack."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cfnlint.decode import decode

from infra.aws.stacks.template import TEMPLATE


def resources(
    stack: str,
    region: str,
    account: str,
    template: Path = TEMPLATE,
    parameters: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, dict[str, Any]]:
    """The template's resources by logical name, with names, pseudo parameters and the given
    parameters filled in; a reference to anything else is ``<its name>``."""
    pseudo = {
        **parameters,
        "AWS::StackName": stack,
        "AWS::AccountId": account,
        "AWS::Region": region,
        "AWS::Partition": "aws",
        "AWS::URLSuffix": "amazonaws.com",
    }
    return {name: _value(body, pseudo) for name, body in decode(template)[0]["Resources"].items()}


def _value(node: Any, pseudo: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_value(item, pseudo) for item in node]
    if not isinstance(node, dict):
        return node
    if len(node) != 1:
        return {key: _value(item, pseudo) for key, item in node.items()}
    (function, argument), *_ = node.items()
    if function == "Ref":
        return pseudo.get(argument, f"<{argument}>")
    if function == "Fn::GetAtt":
        return f"<{'.'.join(argument) if isinstance(argument, list) else argument}>"
    if function == "Fn::Split":
        return _value(argument[1], pseudo).split(argument[0])
    if function == "Fn::Select":
        return _value(argument[1], pseudo)[argument[0]]
    if function == "Fn::Join":
        parts = _value(argument[1], pseudo)
        return argument[0].join(p if isinstance(p, str) else f"<{next(iter(p))}>" for p in parts)
    if function == "Fn::Sub":
        text, names = argument if isinstance(argument, list) else (argument, {})
        return substituted(text, pseudo | {k: _value(v, pseudo) for k, v in names.items()})
    return {function: _value(argument, pseudo)}


def substituted(text: str, names: dict[str, Any]) -> str:
    """What ``Fn::Sub`` makes of a text; a name that is not in ``names`` is ``<name>``."""

    def value(match: re.Match[str]) -> str:
        if match[1].startswith("!"):
            return f"${{{match[1][1:]}}}"
        found = names.get(match[1])
        return found if isinstance(found, str) else f"<{match[1]}>"

    return re.sub(r"\$\{(.*?)\}", value, text)
