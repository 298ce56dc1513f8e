"""Write constraints.txt and sbom.cdx.json into this folder, from the packages that are installed: `make pins`.

constraints.txt has a version for each package that acpbot and its extras need (pip, Constraints Files). sbom.cdx.json
lists what an installed acpbot consists of, with the extra for Kubernetes (https://cyclonedx.org/docs/1.6/json). Neither
has addresses, paths or times, so that the same packages give the same bytes.
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from acpbot import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CONSTRAINTS: Final = Path(__file__).with_name("constraints.txt")
SBOM: Final = Path(__file__).with_name("sbom.cdx.json")
HEAD: Final = "# Made by `make pins`; do not edit. For pip install -c: the versions with which acpbot is tested.\n"
EXTRAS: Final = ("kubernetes", "docs", "dev")
"""Extras whose packages get constraints."""
SHIPPED_EXTRAS: Final = ("kubernetes",)
"""Extras that users install: their packages are optional components."""
Needs = dict[str, set[str]]
"""The canonical names of packages, and of those that each needs itself."""


def needs(extras: Iterable[str]) -> Needs:
    """All packages that acpbot with these extras needs on this system, and acpbot itself.

    Raises LookupError where one of them is not installed.
    """
    found: Needs = {}
    todo = [("acpbot", frozenset(extras))]
    done = set()
    while todo:
        name, wanted = step = todo.pop()
        if step in done:
            continue
        done.add(step)
        known = found.setdefault(name, set())
        for requirement in _requirements(name, wanted):
            needed = canonicalize_name(requirement.name)
            known.add(needed)
            todo.append((needed, frozenset(requirement.extras)))
    return found


def _requirements(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """What a package requires on this system, with these extras of its own."""
    try:
        texts = distribution(name).requires or ()
    except PackageNotFoundError:
        raise LookupError(f"cannot write the versions: {name} is not installed; run: make pins") from None
    for requirement in map(Requirement, texts):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": one}) for one in ("", *extras)):
            yield requirement


def constraints() -> str:
    """The text of constraints.txt."""
    names = sorted(needs(EXTRAS).keys() - {"acpbot"})
    return HEAD + "".join(f"{name}=={distribution(name).version}\n" for name in names)


def sbom() -> str:
    """The text of sbom.cdx.json."""
    required, shipped = needs(()), needs(SHIPPED_EXTRAS)
    refs = {name: _ref(name) for name in sorted(shipped)}
    components = [_component(name, ref, required=name in required) for name, ref in refs.items() if name != "acpbot"]
    graph = [{"ref": ref, "dependsOn": sorted(refs[one] for one in shipped[name])} for name, ref in refs.items()]
    root = {"type": "application", "bom-ref": refs["acpbot"], "name": "acpbot", "version": __version__}
    root |= {"licenses": [{"expression": "MIT"}], "purl": refs["acpbot"]}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": root},
        "components": components,
        "dependencies": graph,
    }
    return json.dumps(document, indent=2) + "\n"


def _ref(name: str) -> str:
    """The package URL, https://github.com/package-url/purl-spec: it names the package, not a server."""
    version = __version__ if name == "acpbot" else distribution(name).version
    return f"pkg:pypi/{name}@{version}"


def _component(name: str, ref: str, *, required: bool) -> dict[str, Any]:
    found = distribution(name)
    component: dict[str, Any] = {"type": "library", "bom-ref": ref, "name": name, "version": found.version}
    component["scope"] = "required" if required else "optional"
    if expression := found.metadata.get("License-Expression"):
        component["licenses"] = [{"expression": expression}]
    elif names := _license_names(found.metadata.get_all("Classifier") or ()):
        component["licenses"] = [{"license": {"name": one}} for one in names]
    return {**component, "purl": ref}


def _license_names(classifiers: Iterable[str]) -> list[str]:
    """The licenses that the classifiers of a package name; none for 'OSI Approved' alone."""
    parts = [one.split(" :: ") for one in classifiers if one.startswith("License :: ")]
    return sorted({one[-1] for one in parts} - {"OSI Approved"})


def main() -> None:
    """Write both files."""
    CONSTRAINTS.write_text(constraints(), encoding="utf-8")
    SBOM.write_text(sbom(), encoding="utf-8")


if __name__ == "__main__":
    main()
