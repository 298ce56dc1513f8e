"""Renderings of the manifests, each made once."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from tests.support.packaging.rendered import Rendered, helm_all, kustomize_all


@pytest.fixture(scope="session")
def kustomized(tmp_path_factory) -> dict[str, Rendered]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: nothing renders the kustomizations")
    return kustomize_all(tmp_path_factory.mktemp("kustomize"))


@pytest.fixture(scope="session")
def helm_made() -> tuple[dict[str, Rendered], dict[str, dict[str, Any]]]:
    return helm_all()


@pytest.fixture(scope="session")
def helmed(helm_made) -> dict[str, Rendered]:
    return helm_made[0]


@pytest.fixture(scope="session")
def helm_outcomes(helm_made) -> dict[str, dict[str, Any]]:
    return helm_made[1]


@pytest.fixture
def rendered(request) -> Rendered:
    """See `tests.support.packaging.rendered.each`."""
    tool, name = request.param
    return request.getfixturevalue("kustomized" if tool == "kustomize" else "helmed")[name]
