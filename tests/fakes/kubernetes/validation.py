"""What the server refuses in an object: the schema by `kubernetes-validate`, and the rules that no schema states.

A field that the schema does not know is always refused, as `fieldValidation=Strict` does: a real server drops it with a
warning unless it is asked to be strict, which hides a misspelt field.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final

import jsonschema  # type: ignore[import-untyped]  # kubernetes-validate brings it, without its stubs
from kubernetes_validate import utils  # type: ignore[import-untyped]  # it has no annotations
from referencing import Registry, Resource

from tests.fakes.kubernetes.errors import ApiError, bad_request, invalid
from tests.fakes.kubernetes.quantities import quantity
from tests.fakes.kubernetes.resources import CLAIMS, PODS

if TYPE_CHECKING:
    from tests.fakes.kubernetes.resources import Kind

Causes = list[tuple[str, str, str]]
LABEL: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
SUBDOMAIN: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
VALUE: Final = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
ENV: Final = re.compile(r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")
SUBDOMAIN_TEXT: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_TEXT: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
VALUE_TEXT: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
POD_UPDATE: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
GO_TYPES: Final = {"str": "string", "int": "number", "float": "number", "bool": "bool", "list": "array"}


@functools.cache
def _contents(name: str) -> Any:
    version = utils.latest_version()
    return utils.schema_contents(f"kubernetes-json-schema/v{version}-local-strict/{name}.json", version)


@functools.cache
def _validator(kind: Kind) -> jsonschema.Draft202012Validator:
    group = kind.group.partition(".")[0]
    name = f"{kind.kind.lower()}-{group}-{kind.version}" if group else f"{kind.kind.lower()}-{kind.version}"
    schema = Resource.from_contents(_contents(name))
    registry: Registry[Any] = Resource.from_contents(_contents("_definitions")) @ (schema @ Registry())
    return jsonschema.Draft202012Validator(schema.contents, registry=registry)


def _dotted(path: list[Any]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def schema(kind: Kind, one: dict[str, Any]) -> None:
    """ApiError 400 or 422 for the first thing that the schema of the kind does not allow."""
    name = str((one.get("metadata") or {}).get("name", ""))
    for error in sorted(_validator(kind).iter_errors(one), key=lambda error: list(map(str, error.absolute_path))):
        path = _dotted(list(error.absolute_path))
        cannot = f"{kind.kind} in version {kind.version!r} cannot be handled as a {kind.kind}: ".replace("'", '"')
        if error.validator == "additionalProperties":
            unknown = re.findall(r"'([^']+)'", error.message)[0]
            raise bad_request(f'{cannot}strict decoding error: unknown field "{f"{path}.{unknown}".lstrip(".")}"')
        if error.validator == "required":
            missing = re.findall(r"'([^']+)'", error.message)[0]
            where = f"{path}.{missing}".lstrip(".")
            raise invalid(kind, name, [(where, "FieldValueRequired", "Required value")])
        if error.validator == "enum":
            known = ", ".join(f'"{one}"' for one in error.validator_value)
            text = f'Unsupported value: "{error.instance}": supported values: {known}'
            raise invalid(kind, name, [(path, "FieldValueNotSupported", text)])
        found = GO_TYPES.get(type(error.instance).__name__, "object")
        text = f"json: cannot unmarshal {found} into Go struct field {kind.kind}.{path}"
        raise bad_request(f"{cannot}{text}")


def rules(kind: Kind, one: dict[str, Any]) -> None:
    """ApiError 422 with everything that is wrong in a valid document."""
    causes: Causes = []
    meta = one["metadata"]
    name = meta.get("name") or meta.get("generateName", "")
    if not name:
        causes.append(("metadata.name", "FieldValueRequired", "Required value: name or generateName is required"))
    elif not SUBDOMAIN.match(name.rstrip("-") if not meta.get("name") else name) or len(name) > 253:
        causes.append(("metadata.name", "FieldValueInvalid", f'Invalid value: "{name}": {SUBDOMAIN_TEXT}'))
    for value in (meta.get("labels") or {}).values():
        if len(value) > 63:
            text = f'Invalid value: "{value}": must be no more than 63 characters'
            causes.append(("metadata.labels", "FieldValueInvalid", text))
        elif not VALUE.match(value):
            causes.append(("metadata.labels", "FieldValueInvalid", f'Invalid value: "{value}": {VALUE_TEXT}'))
    if kind is PODS:
        causes += _pod(one["spec"])
    elif kind is CLAIMS:
        causes += _claim(one.get("spec") or {})
    if causes:
        raise invalid(kind, name, causes)


def _pod(spec: dict[str, Any]) -> Causes:
    causes: Causes = []
    if not spec.get("containers"):
        causes.append(("spec.containers", "FieldValueRequired", "Required value"))
    policy = spec.get("restartPolicy", "Always")
    if policy not in {"Always", "OnFailure", "Never"}:
        text = f'Unsupported value: "{policy}": supported values: "Always", "OnFailure", "Never"'
        causes.append(("spec.restartPolicy", "FieldValueNotSupported", text))
    volumes = [volume["name"] for volume in spec.get("volumes") or []]
    seen: set[str] = set()
    for index, container in enumerate(spec.get("containers") or []):
        at = f"spec.containers[{index}]"
        name = container["name"]
        if not LABEL.match(name) or len(name) > 63:
            causes.append((f"{at}.name", "FieldValueInvalid", f'Invalid value: "{name}": {LABEL_TEXT}'))
        if name in seen:
            causes.append((f"{at}.name", "FieldValueDuplicate", f'Duplicate value: "{name}"'))
        seen.add(name)
        if not container.get("image"):
            causes.append((f"{at}.image", "FieldValueRequired", "Required value"))
        causes += _container(at, container, volumes)
    return causes


def _container(at: str, container: dict[str, Any], volumes: list[str]) -> Causes:
    causes: Causes = []
    paths: set[str] = set()
    for number, mount in enumerate(container.get("volumeMounts") or []):
        if mount["name"] not in volumes:
            causes.append((f"{at}.volumeMounts[{number}].name", "FieldValueNotFound", f'Not found: "{mount["name"]}"'))
        if mount["mountPath"] in paths:
            text = f'Invalid value: "{mount["mountPath"]}": must be unique'
            causes.append((f"{at}.volumeMounts[{number}].mountPath", "FieldValueInvalid", text))
        paths.add(mount["mountPath"])
    for number, entry in enumerate(container.get("env") or []):
        if not ENV.match(entry["name"]):
            text = f'Invalid value: "{entry["name"]}": a valid environment variable name must consist of alphabetic'
            text += " characters, digits, '_', '-', or '.', and must not start with a digit"
            causes.append((f"{at}.env[{number}].name", "FieldValueInvalid", text))
    resources = container.get("resources") or {}
    for which in ("limits", "requests"):
        for resource, amount in (resources.get(which) or {}).items():
            path = f"{at}.resources.{which}[{resource}]"
            try:
                asked = quantity(amount)
            except ValueError as error:
                raise bad_request(
                    f'Pod in version "v1" cannot be handled as a Pod: unable to parse quantity\'s suffix: {error}'
                ) from error
            limit = (resources.get("limits") or {}).get(resource)
            if which == "requests" and limit is not None and asked > quantity(limit):
                text = f'Invalid value: "{amount}": must be less than or equal to {resource} limit of {limit}'
                causes.append((path, "FieldValueInvalid", text))
    return causes


def _claim(spec: dict[str, Any]) -> Causes:
    causes: Causes = []
    if not spec.get("accessModes"):
        causes.append(("spec.accessModes", "FieldValueRequired", "Required value: at least 1 access mode is required"))
    if "storage" not in ((spec.get("resources") or {}).get("requests") or {}):
        causes.append(("spec.resources[storage]", "FieldValueRequired", "Required value"))
    return causes


def change(kind: Kind, old: dict[str, Any], new: dict[str, Any]) -> None:
    """ApiError 422 where an update touches what may not change."""
    name = new["metadata"]["name"]
    if new["metadata"].get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
        raise ApiError(409, "Conflict", f"Precondition failed: UID in precondition: {new['metadata']['uid']}", {})
    if kind is PODS and _fixed(old["spec"]) != _fixed(new["spec"]):
        raise invalid(kind, name, [("spec", "FieldValueForbidden", f"Forbidden: {POD_UPDATE}")])
    if kind is CLAIMS:
        before, after = dict(old["spec"]), dict(new["spec"])
        before.pop("resources", None), after.pop("resources", None)
        if before != after:
            text = "Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName"
            raise invalid(kind, name, [("spec", "FieldValueForbidden", f"{text} for bound claims")])


def _fixed(spec: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in spec.items() if key not in {"activeDeadlineSeconds", "tolerations"}}
    kept["containers"] = [{**one, "image": ""} for one in spec["containers"]]
    return kept
