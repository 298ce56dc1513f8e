"""The API server's refusals, in its own words (k8s.io/apimachinery/pkg/api/errors)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.fakes.kubernetes.resources import Kind


class ApiError(Exception):
    """An answer other than 2xx: its HTTP `code`, `reason`, `message` and the `details` of the Status object."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def body(self) -> dict[str, Any]:
        status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        status |= {"message": self.message}
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        return status | {"code": self.code}

    @property
    def headers(self) -> dict[str, str]:
        """`Retry-After`, where the details say in how many seconds the client may try again."""
        seconds = (self.details or {}).get("retryAfterSeconds")
        return {} if seconds is None else {"Retry-After": str(seconds)}


def _named(kind: Kind, name: str) -> dict[str, Any]:
    details = {"name": name, "kind": kind.plural}
    return details if not kind.group else details | {"group": kind.group}


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def not_found(kind: Kind, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{kind.resource} "{name}" not found', _named(kind, name))


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(kind: Kind, name: str) -> ApiError:
    return ApiError(409, "AlreadyExists", f'{kind.resource} "{name}" already exists', _named(kind, name))


def conflict(kind: Kind, name: str, why: str = "") -> ApiError:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    text = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    return ApiError(409, "Conflict", text, _named(kind, name))


def forbidden(kind: Kind, name: str, why: str) -> ApiError:
    """Refused by admission: quota, pod security, a missing service account."""
    return ApiError(403, "Forbidden", f'{kind.resource} "{name}" is forbidden: {why}', _named(kind, name))


def no_right(user: str, verb: str, kind: Kind, *, subresource: str, namespace: str, name: str) -> ApiError:
    """Refused by the authorizer."""
    plural = f"{kind.plural}/{subresource}" if subresource else kind.plural
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    target = f'{kind.resource} "{name}" is' if name else f"{kind.resource} is"
    text = f'{target} forbidden: User "{user}" cannot {verb} resource "{plural}" in API group "{kind.group}" {where}'
    return ApiError(403, "Forbidden", text, _named(kind, name) if name else {"kind": kind.plural})


def invalid(kind: Kind, name: str, causes: list[tuple[str, str, str]]) -> ApiError:
    """422 with `causes`: each the path of a field, the reason of its cause (FieldValueInvalid ...) and the text."""
    texts = [f"{path}: {text}" for path, _, text in causes]
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details: dict[str, Any] = {"name": name, "kind": kind.kind}
    if kind.group:
        details["group"] = kind.group
    details["causes"] = [{"reason": reason, "message": text, "field": path} for path, reason, text in causes]
    return ApiError(422, "Invalid", f'{kind.qualified} "{name}" is invalid: {listed}', details)


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def gone(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def method_not_allowed() -> ApiError:
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def unsupported_media(given: str, known: list[str]) -> ApiError:
    text = f"the body of the request was in an unknown format - accepted media types include: {', '.join(known)}"
    return ApiError(415, "UnsupportedMediaType", text, {"given": given})


def too_many_requests(seconds: int = 1) -> ApiError:
    text = "Too many requests, please try again later."
    return ApiError(429, "TooManyRequests", text, {"retryAfterSeconds": seconds})


def internal(message: str) -> ApiError:
    details = {"causes": [{"message": message}]}
    return ApiError(500, "InternalError", f"Internal error occurred: {message}", details)
