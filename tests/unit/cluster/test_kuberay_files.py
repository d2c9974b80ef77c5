"""The Kubernetes files: core kinds with Kubernetes' own schemas, KubeRay's fields against a list.

The list holds the fields of the `ray.io/v1` API reference (KubeRay 1.5 and 1.6). A pod template
is checked as a Pod. Nothing of this was run on a Kubernetes.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

KUBERAY = Path(__file__).parents[3] / "cluster" / "kuberay"
FILES = sorted(path.name for path in KUBERAY.glob("*.yaml"))

VALUE, TEXTS, TEMPLATE, RESOURCES, SECURITY = "value", "texts", "template", "resources", "security"
CLUSTER_SPEC: dict[str, Any] = {
    "rayVersion": VALUE,
    "suspend": VALUE,
    "managedBy": VALUE,
    "enableInTreeAutoscaling": VALUE,
    "headServiceAnnotations": TEXTS,
    "authOptions": {"mode": ("token",), "secretName": VALUE, "enableK8sTokenAuth": VALUE},
    "autoscalerOptions": {
        "version": ("v1", "v2"),
        "upscalingMode": ("Default", "Aggressive", "Conservative"),
        "idleTimeoutSeconds": VALUE,
        "image": VALUE,
        "imagePullPolicy": VALUE,
        "env": VALUE,
        "envFrom": VALUE,
        "volumeMounts": VALUE,
        "resources": RESOURCES,
        "securityContext": SECURITY,
    },
    "gcsFaultToleranceOptions": {
        "redisAddress": VALUE,
        "redisUsername": VALUE,
        "redisPassword": VALUE,
        "externalStorageNamespace": VALUE,
    },
    "headGroupSpec": {
        "serviceType": ("ClusterIP", "NodePort", "LoadBalancer"),
        "headService": VALUE,
        "enableIngress": VALUE,
        "resources": TEXTS,
        "labels": TEXTS,
        "rayStartParams": TEXTS,
        "template": TEMPLATE,
    },
    "workerGroupSpecs": [
        {
            "groupName": VALUE,
            "suspend": VALUE,
            "replicas": VALUE,
            "minReplicas": VALUE,
            "maxReplicas": VALUE,
            "idleTimeoutSeconds": VALUE,
            "numOfHosts": VALUE,
            "resources": TEXTS,
            "labels": TEXTS,
            "rayStartParams": TEXTS,
            "scaleStrategy": {"workersToDelete": VALUE},
            "template": TEMPLATE,
        }
    ],
}
JOB_SPEC: dict[str, Any] = {
    "entrypoint": VALUE,
    "entrypointNumCpus": VALUE,
    "entrypointNumGpus": VALUE,
    "entrypointResources": VALUE,
    "runtimeEnvYAML": VALUE,
    "metadata": TEXTS,
    "jobId": VALUE,
    "submissionMode": ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    "submitterConfig": {"backoffLimit": VALUE},
    "submitterPodTemplate": TEMPLATE,
    "backoffLimit": VALUE,
    "activeDeadlineSeconds": VALUE,
    "preRunningDeadlineSeconds": VALUE,
    "shutdownAfterJobFinishes": VALUE,
    "ttlSecondsAfterFinished": VALUE,
    "deletionStrategy": VALUE,
    "clusterSelector": TEXTS,
    "managedBy": VALUE,
    "suspend": VALUE,
    "rayClusterSpec": CLUSTER_SPEC,
}
SPECS = {"RayCluster": CLUSTER_SPEC, "RayJob": JOB_SPEC}


def wrong_fields(value: Any, known: Any, path: str) -> list[str]:
    """Fields of a KubeRay object that its API does not have, and values of a wrong kind."""
    if known == VALUE:
        return []
    if isinstance(known, tuple):
        return [] if value in known else [f"{path}: {value}"]
    if isinstance(known, list):
        return [
            w for i, item in enumerate(value) for w in wrong_fields(item, known[0], f"{path}.{i}")
        ]
    if known == TEXTS:
        return [f"{path}.{k}: no text" for k, v in value.items() if not isinstance(v, str)]
    if known == TEMPLATE:
        return core_problems(pod(value), path)
    if known in (RESOURCES, SECURITY):
        field = "resources" if known == RESOURCES else "securityContext"
        container = {"name": "any", "image": "any", field: value}
        return core_problems(pod({"spec": {"containers": [container]}}), path)
    found = [f"{path}.{key}" for key in value.keys() - known.keys()]
    for key in value.keys() & known.keys():
        found += wrong_fields(value[key], known[key], f"{path}.{key}")
    return found


def pod(template: dict[str, Any]) -> dict[str, Any]:
    """A pod template as a Pod, for Kubernetes' schemas know that."""
    named = {**template.get("metadata", {}), "name": "any"}
    return {"apiVersion": "v1", "kind": "Pod", **template, "metadata": named}


def core_problems(document: dict[str, Any], path: str) -> list[str]:
    try:
        kubernetes_validate.validate(document, "1.30", strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{path}: {error.message}"]
    return []


def problems(document: dict[str, Any]) -> list[str]:
    if document["apiVersion"] == "ray.io/v1":
        return wrong_fields(document["spec"], SPECS[document["kind"]], document["kind"])
    return core_problems(document, document["kind"])


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((KUBERAY / name).read_text("utf-8")))


def cluster_of(name: str) -> dict[str, Any]:
    (found,) = [d for d in documents(name) if d["kind"] in SPECS]
    spec: dict[str, Any] = found["spec"]
    return spec.get("rayClusterSpec", spec)


def templates(name: str) -> list[dict[str, Any]]:
    """Every pod template of a KubeRay file."""
    (found,) = [d for d in documents(name) if d["kind"] in SPECS]
    cluster = cluster_of(name)
    submitter = [found["spec"]["submitterPodTemplate"]] if found["kind"] == "RayJob" else []
    workers = [group["template"] for group in cluster["workerGroupSpecs"]]
    return [cluster["headGroupSpec"]["template"], *workers, *submitter]


@pytest.mark.parametrize("name", FILES)
def test_a_kubernetes_file_is_valid(name):
    assert [word for document in documents(name) for word in problems(document)] == []


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("", "rayversion"),
        ("authOptions", "mod"),
        ("autoscalerOptions", "idleTimeout"),
        ("autoscalerOptions.resources", "limit"),
        ("headGroupSpec", "rayStartParam"),
        ("workerGroupSpecs.1", "minReplica"),
        ("workerGroupSpecs.1.template.spec", "toleration"),
        ("headGroupSpec.template.spec.containers.0", "imagePull"),
        ("headGroupSpec.template.spec.containers.0.livenessProbe", "period"),
    ],
)
def test_a_typo_in_a_kuberay_file_is_seen(path, key):
    document = copy.deepcopy(next(d for d in documents("raycluster.yaml") if d["kind"] in SPECS))
    place: Any = document["spec"]
    for part in filter(None, path.split(".")):
        place = place[int(part)] if part.isdigit() else place[part]
    place[key] = "x"
    assert problems(document)


def test_a_value_that_is_none_of_the_known_ones_is_seen():
    document = copy.deepcopy(next(d for d in documents("rayjob.yaml") if d["kind"] in SPECS))
    document["spec"]["submissionMode"] = "K8sJob"
    document["spec"]["rayClusterSpec"]["authOptions"]["mode"] = "disabled"
    assert len(problems(document)) == 2


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_a_cluster_asks_for_a_token_and_is_not_published(name):
    cluster = cluster_of(name)
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert not cluster["headGroupSpec"].get("enableIngress")
    (policy,) = documents("network.yaml")
    label = policy["spec"]["podSelector"]["matchLabels"]
    for template in templates(name):
        assert label.items() <= template["metadata"]["labels"].items()


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_pods_run_without_root_with_requests_and_limits(name):
    for template in templates(name):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] > 0
        for container in spec["containers"]:
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_nodes_have_probes_and_gpu_workers_start_at_none(name):
    cluster = cluster_of(name)
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        assert {"startupProbe", "livenessProbe"} <= container.keys()
    (gpu,) = [group for group in groups if group.get("groupName") == "gpu"]
    (container,) = gpu["template"]["spec"]["containers"]
    assert gpu["minReplicas"] == 0 < gpu["maxReplicas"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_secrets_come_from_a_kubernetes_secret_and_from_nowhere_else(name):
    for template in templates(name):
        for container in template["spec"]["containers"]:
            assert "env" not in container
            for source in container.get("envFrom", []):
                assert source.keys() == {"secretRef"}


def test_a_retried_job_goes_on_and_has_time_to_end():
    spec = next(d for d in documents("rayjob.yaml") if d["kind"] == "RayJob")["spec"]
    assert "--resume-if-exists" in spec["entrypoint"]
    assert spec["backoffLimit"] > 0
    variables = yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]
    assert variables["RAY_JOB_STOP_SIGNAL"] in ("SIGINT", "SIGTERM")
    head = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert 3 < int(variables["RAY_JOB_STOP_WAIT_TIME_S"]) < head["terminationGracePeriodSeconds"]
