"""The image, the manifests for Kubernetes and the systemd units: checked, and in agreement."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pydamon._cli.main import COMMANDS

yaml = pytest.importorskip("yaml", reason="needs the package pyyaml")

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
MANIFESTS = sorted((PACKAGING / "kubernetes/base").glob("*.yaml"))
RESOURCES = [path for path in MANIFESTS if path.name != "kustomization.yaml"]
CAPABILITIES = {"BPF", "PERFMON", "SYS_PTRACE", "SYS_NICE"}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.fixture
def pod() -> Any:
    return load(PACKAGING / "kubernetes/base/daemon-set.yaml")["spec"]["template"]["spec"]


@pytest.mark.parametrize("path", RESOURCES, ids=lambda path: path.stem)
@pytest.mark.parametrize("version", ["1.30", "1.33"])
def test_manifests_keep_to_the_schemas_of_kubernetes(path: Path, version: str) -> None:
    kubernetes_validate = pytest.importorskip(
        "kubernetes_validate", reason="needs the package kubernetes-validate"
    )
    kubernetes_validate.validate(load(path), version, strict=True)


def test_the_kustomization_has_all_manifests() -> None:
    kustomization = load(PACKAGING / "kubernetes/base/kustomization.yaml")
    assert sorted(kustomization["resources"]) == [path.name for path in RESOURCES]


def test_the_overlay_of_the_page_names_the_image(pod: Any) -> None:
    """Kustomize replaces an image by its name: the base must not have replaced it before."""
    page = (ROOT / "docs/how-to/kubernetes.md").read_text()
    overlay = yaml.safe_load(re.findall(r"```yaml\n# kustomization.yaml\n(.*?)```", page, re.S)[0])
    assert [image["name"] for image in overlay["images"]] == [pod["containers"][0]["image"]]
    assert "images" not in load(PACKAGING / "kubernetes/base/kustomization.yaml")
    assert [ROOT / path for path in overlay["resources"]] == [PACKAGING / "kubernetes/base"]


def test_the_daemon_set_has_four_capabilities_and_no_more(pod: Any) -> None:
    (container,) = pod["containers"]
    context = container["securityContext"]
    assert context["capabilities"]["drop"] == ["ALL"]
    assert set(context["capabilities"]["add"]) == CAPABILITIES
    assert not context["privileged"]
    assert not context["allowPrivilegeEscalation"]
    assert context["readOnlyRootFilesystem"]
    assert not pod["automountServiceAccountToken"]
    assert "hostNetwork" not in pod


def test_the_daemon_set_cannot_write_to_the_host(pod: Any) -> None:
    (container,) = pod["containers"]
    of_host = {volume["name"] for volume in pod["volumes"] if "hostPath" in volume}
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert of_host <= mounts.keys()
    (root,) = [entry["value"] for entry in container["env"]]
    for volume in pod["volumes"]:
        mount = mounts[volume["name"]]
        if volume["name"] in of_host:
            assert mount["readOnly"]
            assert mount["mountPath"] == root + volume["hostPath"]["path"]


def test_labels_of_pods_are_those_that_selectors_ask_for() -> None:
    daemon_set = load(PACKAGING / "kubernetes/base/daemon-set.yaml")["spec"]
    service = load(PACKAGING / "kubernetes/base/service.yaml")["spec"]
    labels = daemon_set["template"]["metadata"]["labels"]
    assert daemon_set["selector"]["matchLabels"].items() <= labels.items()
    assert service["selector"].items() <= labels.items()


def test_the_image_runs_what_the_daemon_set_runs(pod: Any) -> None:
    text = (PACKAGING / "container/Containerfile").read_text()
    (command,) = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
    assert yaml.safe_load(command) == pod["containers"][0]["args"]
    assert yaml.safe_load(command)[0] in COMMANDS


def test_the_image_is_built_from_files_that_exist() -> None:
    text = (PACKAGING / "container/Containerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        *sources, _ = line.split()
        assert [name for name in sources if not (ROOT / name).exists()] == []


def test_the_exporter_service_has_the_same_capabilities() -> None:
    text = (PACKAGING / "systemd/pydamon-exporter.service").read_text()
    expected = {f"CAP_{name}" for name in CAPABILITIES}
    for setting in ("AmbientCapabilities", "CapabilityBoundingSet"):
        (names,) = re.findall(rf"^{setting}=(.*)$", text, re.MULTILINE)
        assert set(names.split()) == expected
