"""Writes the chart's values.schema.json and needs-restart.json from acpbot's settings.

Run `python -m tests.support.packaging.values_schema`. `acpbot.config.settings` alone defines what a table of
config.toml may hold and what takes a restart; tests check that the files are current.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from acpbot.config import pod_values
from acpbot.config.field_types import FieldType, agent_options, bind, discord_id, keys_of, size, variables
from acpbot.config.mcp_servers import McpServer, header_fields, mcp_server
from acpbot.config.schedules import ScheduleSettings
from acpbot.config.settings import TABLES, ChannelSettings

if TYPE_CHECKING:
    from msgspec import Struct

PLACE: Final = Path(__file__).parents[3] / "packaging" / "helm" / "acpbot" / "values.schema.json"
RESTART_PLACE: Final = PLACE.with_name("needs-restart.json")

# The chart mounts the token beside the configuration; the image sets ACPBOT_SOCKET, which overrides the key.
CHART_SETS: Final = {("discord", "bot_token"), ("discord", "bot_token_file"), ("management", "socket")}

PORT: Final = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
BIND: Final = rf"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):{PORT}$"

TEXT: Final = {"type": "string"}
NAME: Final = {"type": "string", "minLength": 1}
SWITCH: Final = {"type": "boolean"}
COUNT: Final = {"type": "integer", "minimum": 0}
FROM_ONE: Final = {"type": "integer", "minimum": 1}
QUANTITY: Final = {"type": "string", "pattern": "^[0-9]+([.][0-9]+)?([KMGTPE]i?|k|m)?$"}
CIDR: Final = {"type": "string", "pattern": "^[0-9A-Fa-f:.]+/[0-9]{1,3}$"}
OBJECT: Final = {"type": "object"}
OBJECTS: Final = {"type": "array", "items": OBJECT}
TEXTS: Final = {"type": "object", "additionalProperties": TEXT}
DISCORD_ID: Final[dict[str, str]] = {"type": "string", "pattern": "^[1-9][0-9]{0,19}$"}

# A variable of an agent, and the key of a Secret that it is set from.
SECRET_VARIABLES: Final = {
    "type": "object",
    "patternProperties": {
        "^[A-Za-z_][A-Za-z0-9_]*$": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"name": NAME, "key": NAME},
            "required": ["name"],
        }
    },
    "additionalProperties": False,
}

Schema = dict[str, Any]


def closed(properties: Schema, **more: Any) -> Schema:
    """An object that has no other keys."""
    return {"type": "object", "additionalProperties": False, "properties": properties, **more}


def of_field(field: FieldType) -> Schema:
    """What a key takes."""
    if field.annotation is bool:
        return SWITCH
    if choices := field.choices():
        return {"enum": list(choices)}
    base = field.annotation.__origin__
    if field.prepare is size:
        return {"type": ["integer", "string"], "pattern": "^[0-9]+ ?[KMGT]?$"}
    if base in {int, float}:
        name = "integer" if base is int else "number"
        return {"type": name, "minimum": field.meta.ge, "maximum": field.meta.le}
    if field.prepare is bind:
        return {"type": "string", "pattern": BIND}
    if field.items is not None and field.items.prepare is mcp_server:
        return {"type": "array", "items": of_table("mcp_servers", McpServer) | {"required": ["name"]}}
    if field.items is not None:
        # As a number in YAML it would lose its last digits on the way: Helm makes all numbers floats.
        ids = field.items.prepare is discord_id
        return {"type": "array", "uniqueItems": True, "items": DISCORD_ID} if ids else {"type": "array", "items": TEXT}
    if field.prepare is agent_options:
        return {"type": "object", "additionalProperties": {"type": ["string", "boolean"]}}
    if field.prepare in {pod_values.resources, pod_values.pod_template}:
        return OBJECT
    return TEXTS if field.prepare in {variables, header_fields, pod_values.labels} else NAME


def of_table(name: str, cls: type[Struct]) -> Schema:
    """A table of config.toml."""
    properties = {}
    for key, field in keys_of(cls).items():
        if (name, key) not in CHART_SETS:
            properties[key] = of_field(field) if isinstance(field, FieldType) else of_table(f"{name}.{key}", field)
    return closed(properties)


def probe(**more: Schema) -> Schema:
    """The timing of a probe. What it requests is fixed."""
    keys = ("periodSeconds", "timeoutSeconds", "failureThreshold")
    return closed({"initialDelaySeconds": COUNT, **dict.fromkeys(keys, FROM_ONE), **more})


def tables() -> Schema:
    """The tables of config.toml, as values of the chart."""
    made = {name: of_table(name, cls) for name, cls in TABLES.items() if "." not in name}
    agent = made.pop("agent") | {"required": ["command"]}
    agent["properties"]["secretEnv"] = SECRET_VARIABLES
    made["agents"] = {
        "type": "object",
        "patternProperties": {"^[a-z0-9-]{1,32}$": agent},
        "additionalProperties": False,
    }
    made["discord"]["properties"]["channels"] = {
        "type": "object",
        "patternProperties": {DISCORD_ID["pattern"]: of_table("discord.channels.ID", ChannelSettings)},
        "additionalProperties": False,
    }
    made["discord"]["anyOf"] = [
        {"required": ["allowed_users"], "properties": {"allowed_users": {"minItems": 1}}},
        {"required": ["allowed_role_ids"], "properties": {"allowed_role_ids": {"minItems": 1}}},
        {"required": ["allow_all_users"], "properties": {"allow_all_users": {"const": True}}},
        {"required": ["channels"], "properties": {"channels": {"minProperties": 1}}},
    ]
    entry = of_table("schedule", ScheduleSettings) | {"required": ["cron", "text"]}
    made["schedule"] = {"type": "array", "items": entry}
    probes = made["management"]["properties"]["probes"]
    probes["required"] = ["enabled", "bind"]
    return {"default_agent": {"type": "string", "pattern": "^([a-z0-9-]{1,32})?$"}, **made}


def schema() -> Schema:
    """The whole schema."""
    chart: Schema = {
        "global": OBJECT,
        "existingSecret": TEXT,
        "existingSecretKey": NAME,
        "botToken": TEXT,
        "nameOverride": TEXT,
        "fullnameOverride": TEXT,
        "image": closed(
            {
                "repository": NAME,
                "tag": TEXT,
                "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
                "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
            }
        ),
        "imagePullSecrets": OBJECTS,
        "persistence": closed(
            {
                "enabled": SWITCH,
                "existingClaim": TEXT,
                "size": QUANTITY,
                "storageClass": TEXT,
                "accessModes": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"enum": ["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]},
                },
                "keep": SWITCH,
                "annotations": TEXTS,
            }
        ),
        "tmp": closed({"size": QUANTITY, "claim": SWITCH, "storageClass": TEXT}),
        "run": closed({"size": QUANTITY}),
        "resources": closed({"requests": OBJECT, "limits": OBJECT, "claims": OBJECTS}),
        "startupProbe": probe(failureThreshold={"type": ["integer", "null"], "minimum": 1}),
        "livenessProbe": probe(terminationGracePeriodSeconds=FROM_ONE),
        "readinessProbe": probe(successThreshold=FROM_ONE),
        "podMonitor": closed(
            {
                "enabled": SWITCH,
                "interval": {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"},
                "labels": TEXTS,
            }
        ),
        "agentPods": closed(
            {
                "namespace": {"type": "string", "pattern": "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$"},
                "createNamespace": SWITCH,
                "networkPolicy": closed(
                    {"enabled": SWITCH, "deniedCIDRs": {"type": "array", "items": CIDR}, "extraEgress": OBJECTS}
                ),
                "resourceQuota": closed(
                    {"enabled": SWITCH, "hard": {"type": "object", "additionalProperties": QUANTITY}}
                ),
            }
        ),
        "networkPolicy": closed({"enabled": SWITCH, "extraEgress": OBJECTS}),
        "extraEnv": OBJECTS,
        "extraEnvFrom": OBJECTS,
        "extraVolumes": OBJECTS,
        "extraVolumeMounts": OBJECTS,
        "initContainers": OBJECTS,
        "sidecars": OBJECTS,
        "lifecycle": OBJECT,
        "terminationGracePeriodSeconds": {"type": ["integer", "null"], "minimum": 1},
        "extraObjects": {"type": "array", "items": {"type": ["object", "string"]}},
        "podSecurityContext": OBJECT,
        "securityContext": OBJECT,
        "serviceAccountName": TEXT,
        "serviceAccount": closed({"create": SWITCH, "annotations": TEXTS}),
        "podDisruptionBudget": closed(
            {"enabled": SWITCH, "maxUnavailable": {"type": ["integer", "string"], "pattern": "^[0-9]+%$", "minimum": 0}}
        ),
        "deploymentAnnotations": TEXTS,
        "podAnnotations": TEXTS,
        "podLabels": TEXTS,
        "nodeSelector": TEXTS,
        "tolerations": OBJECTS,
        "affinity": OBJECT,
        "topologySpreadConstraints": OBJECTS,
        "priorityClassName": TEXT,
        "runtimeClassName": TEXT,
        "hostAliases": OBJECTS,
        "dnsPolicy": {"enum": ["", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]},
        "dnsConfig": OBJECT,
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart acpbot; made by tests/support/packaging/values_schema.py",
        **closed(tables() | chart),
    }


def text() -> str:
    """The text of the file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def needs_restart() -> str:
    """The text of the chart's list of keys that take a restart."""
    listed = {name: getattr(cls, "NEEDS_RESTART", ()) for name, cls in TABLES.items()}
    kept = {name: [key for key in keys if (name, key) not in CHART_SETS] for name, keys in listed.items() if keys}
    return json.dumps(kept, indent=2) + "\n"


if __name__ == "__main__":
    PLACE.write_text(text())
    RESTART_PLACE.write_text(needs_restart())
    print(f"written: {PLACE}, {RESTART_PLACE}")
