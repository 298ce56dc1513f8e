"""From the spec of a pod to the setup of its containers: environment, volumes, user."""

from __future__ import annotations

import base64
import os
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.fakes.kubernetes.resources import CLAIMS, CONFIG_MAPS, SECRETS
from tests.fakes.kubernetes.sandbox import Bind, Setup, obstacle
from tests.fakes.kubernetes.selectors import value_at

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.kubernetes.store import Object, Store

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Image:
    """An image in the registry. Its files are those of this machine.

    `error`: what a pull fails with. `present`: a node has it already. `pull_seconds`: how long a pull takes.
    """

    command: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)
    working_dir: str = "/"
    user: int = 0
    present: bool = False
    pull_seconds: float = 0.2
    error: str = ""


class ConfigError(Exception):
    """The kubelet cannot make the container of what the spec says; the text is the message of the state."""


class MountError(Exception):
    """A volume cannot be mounted; the text is the message of the event."""


def _value(store: Store, pod: Object, entry: dict[str, Any]) -> str | None:
    source, namespace = entry["valueFrom"], pod["metadata"]["namespace"]
    if field_ref := source.get("fieldRef"):
        return value_at(pod, field_ref["fieldPath"])
    for key, kind in (("secretKeyRef", SECRETS), ("configMapKeyRef", CONFIG_MAPS)):
        if (wanted := source.get(key)) is None:
            continue
        found = store.find(kind, namespace, wanted["name"])
        values = {} if found is None else plain_data(found)
        if wanted["key"] in values:
            return values[wanted["key"]].decode()
        if wanted.get("optional"):
            return None
        if found is None:
            raise ConfigError(f'{kind.singular} "{wanted["name"]}" not found')
        raise ConfigError(f"couldn't find key {wanted['key']} in {kind.kind} {namespace}/{wanted['name']}")
    return None


def plain_data(one: Object) -> dict[str, bytes]:
    """The values of a secret or a config map."""
    data = one.get("data") or {}
    if one["kind"] == "Secret":
        made = {key: base64.b64decode(value) for key, value in data.items()}
        return made | {key: value.encode() for key, value in (one.get("stringData") or {}).items()}
    return {key: value.encode() for key, value in data.items()}


def environ_of(store: Store, pod: Object, container: dict[str, Any], image: Image) -> dict[str, str]:
    """What the container gets, nothing of this machine's; ConfigError for a reference to what is not there."""
    made = {"PATH": PATH, "HOME": "/root", "HOSTNAME": pod["metadata"]["name"]}
    made |= {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", **image.environ}
    for source in container.get("envFrom") or []:
        for key, kind in (("secretRef", SECRETS), ("configMapRef", CONFIG_MAPS)):
            if (wanted := source.get(key)) is None:
                continue
            found = store.find(kind, pod["metadata"]["namespace"], wanted["name"])
            if found is None and not wanted.get("optional"):
                raise ConfigError(f'{kind.singular} "{wanted["name"]}" not found')
            values = plain_data(found) if found else {}
            made |= {source.get("prefix", "") + name: value.decode() for name, value in values.items()}
    for entry in container.get("env") or []:
        value = _value(store, pod, entry) if "valueFrom" in entry else expanded(entry.get("value", ""), made)
        if value is not None:
            made[entry["name"]] = value
    return made


def expanded(text: str, environ: dict[str, str]) -> str:
    """``$(NAME)`` replaced where the name is known; ``$$(NAME)`` is an escape."""
    return re.sub(
        r"\$(\$?)\(([^()\s]+)\)",
        lambda found: found[0][1:] if found[1] else environ.get(found[2], found[0]),
        text,
    )


def setup(store: Store, pod: Object, container: dict[str, Any], image: Image, data: Path) -> Setup:
    """The container as it is to be made; ConfigError or MountError where it cannot be."""
    environ = environ_of(store, pod, container, image)
    argv = container.get("command") or list(image.command[:1])
    argv = [*argv, *(container.get("args") or ([] if container.get("command") else list(image.command[1:])))]
    if not argv:
        raise ConfigError("no command specified")
    general, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    both = {**general, **own}
    uid = both.get("runAsUser", image.user)
    if both.get("runAsNonRoot") and uid == 0:
        who = f'pod: "{pod["metadata"]["name"]}_{pod["metadata"]["namespace"]}({pod["metadata"]["uid"]})"'
        raise ConfigError(
            f"container has runAsNonRoot and image will run as root ({who}, container: {container['name']})"
        )
    fs_group = general.get("fsGroup")
    groups = (*(general.get("supplementalGroups") or ()), *(() if fs_group is None else (fs_group,)))
    scratch = data / "roots" / f"{pod['metadata']['uid']}-{container['name']}"
    scratch.mkdir(parents=True, exist_ok=True)
    return Setup(
        argv=[expanded(word, environ) for word in argv],
        environ=environ,
        scratch=scratch,
        hostname=pod["spec"].get("hostname") or pod["metadata"]["name"][:63],
        working_dir=container.get("workingDir") or image.working_dir,
        binds=_binds(store, pod, container, data),
        hidden=[data],
        uid=uid,
        gid=both.get("runAsGroup", 0),
        groups=groups,
        drop_capabilities="ALL" in ((own.get("capabilities") or {}).get("drop") or []),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False,
        read_only_root=bool(own.get("readOnlyRootFilesystem")),
        tty=bool(container.get("tty")),
    )


def _binds(store: Store, pod: Object, container: dict[str, Any], data: Path) -> list[Bind]:
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or []}
    made = []
    for mount in container.get("volumeMounts") or []:
        source = _volume(store, pod, volumes[mount["name"]], data)
        if mount.get("subPath"):
            source = _sub_path(source, mount["subPath"])
        made.append(Bind(source, mount["mountPath"], bool(mount.get("readOnly"))))
    return made


def _sub_path(volume: Path, path: str) -> Path:
    """A folder of a volume, made with the rights of the volume's own, as the kubelet makes it."""
    folder = volume / path
    if not folder.exists():
        folder.mkdir(parents=True)
        os.chown(folder, -1, volume.stat().st_gid)
        folder.chmod(stat.S_IMODE(volume.stat().st_mode))
    return folder


def _volume(store: Store, pod: Object, volume: dict[str, Any], data: Path) -> Path:
    """The folder of a volume on this machine, made where it is not there."""
    namespace, uid, name = pod["metadata"]["namespace"], pod["metadata"]["uid"], volume["name"]
    if claimed := volume.get("persistentVolumeClaim"):
        claim = store.get(CLAIMS, namespace, claimed["claimName"])
        return _shared(folder_of(claim, data), pod)
    folder = data / "pods" / uid / name
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, bytes] = {}
    for key, kind, naming in (("secret", SECRETS, "secretName"), ("configMap", CONFIG_MAPS, "name")):
        if (wanted := volume.get(key)) is not None:
            found = store.find(kind, namespace, wanted[naming])
            if found is None and not wanted.get("optional"):
                text = f'MountVolume.SetUp failed for volume "{name}" : {kind.singular} "{wanted[naming]}" not found'
                raise MountError(text)
            files = plain_data(found) if found else {}
    if "projected" in volume:
        files = {"token": b"a.made-up.token", "namespace": namespace.encode()}
    for file, content in files.items():
        (folder / file).write_bytes(content)
    if "emptyDir" in volume:
        folder.chmod(0o777)
        return _shared(folder, pod)
    return folder


def folder_of(claim: Object, data: Path) -> Path:
    """Where the files of a claim are on this machine, whatever pod uses it.

    A test may have made a folder for it: in `links`, named by the value of one of its labels.
    """
    for value in (claim["metadata"].get("labels") or {}).values():
        if (made := data / "links" / value).is_dir():
            return made
    folder = data / "volumes" / claim["metadata"]["uid"]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _shared(folder: Path, pod: Object) -> Path:
    """The volume with the group that `fsGroup` names; without it only root may write to a claim."""
    group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    if group is not None and not obstacle():
        os.chown(folder, -1, group)
        folder.chmod(folder.stat().st_mode | 0o2770)
    return folder
