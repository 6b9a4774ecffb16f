"""``python -m pipelines.deploying.site VALUES``: our manifests for one site, from the one file in which sites differ.

Reads what kustomize rendered and writes what to apply. A value that is left at what the manifests say changes nothing,
so an overlay is what the file beside it says, and whoever applies an overlay as it is gets the usual installation. A
team of its own is a site of its own: other namespaces, and nothing of it is named like another team's.
"""

import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import click
import yaml
from pydantic import ValidationError, field_validator, model_validator

from pipelines.deploying.installed import SYSTEM, Installed
from serving.bundle.own import VARIABLE
from serving.cluster.manifest import Installation
from serving.contract import Frozen
from serving.errors import ConfigError

Object = dict[str, Any]
DNS = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
NAMED = "kubernetes.io/metadata.name"  # the label of a namespace that is its name
USUAL = Installation()  # what the controller takes where its address says nothing


class Site(Frozen):
    """What differs between installations; the defaults are what ``manifests/`` says.

    Attributes:
        host: a model answers at ``<name>.<host>``.
        gateway: ``<namespace>/<name>`` of the Gateway that routes are attached to.
        storage_class: of the volumes that ours ask for; empty: the cluster's default.
        priority_class: of pods that answer or move traffic; empty: the cluster's usual one.
        object_store: ``http(s)://host[:port]`` of an S3 service. bucket: for bundles and the log of predictions.
        database: SQLAlchemy URL of the ledger, without a password, which is in the secret ``slipway-ledger``.
        tracking: MLflow's address.
        registry: where our two images are pushed to and pulled from; empty: the nodes have them.
        own_packages: whose code models may hold, with commas between them; both images need it.
        system_namespace, models_namespace, runs_namespace: of the controller, of models, and of the steps of runs.
    """

    host: str = USUAL.domain
    gateway: str = f"{USUAL.gateway_namespace}/{USUAL.gateway}"
    storage_class: str = ""
    priority_class: str = ""
    object_store: str = "http://minio.slipway-system:9000"
    bucket: str = "slipway"
    database: str = "mysql+pymysql://ledger.slipway-system:3306/slipway"
    tracking: str = "http://mlflow.slipway-system:5000"
    registry: str = ""
    own_packages: str = ""
    system_namespace: str = Installed().system
    models_namespace: str = USUAL.namespace
    runs_namespace: str = Installed().runs

    @field_validator("host")
    @classmethod
    def _host(cls, found: str) -> str:
        return _matching(found, rf"{DNS}(\.{DNS})*", "a domain such as models.example.com")

    @field_validator("gateway")
    @classmethod
    def _gateway(cls, found: str) -> str:
        return _matching(found, f"{DNS}/{DNS}", "NAMESPACE/NAME")

    @field_validator("object_store", "tracking")
    @classmethod
    def _address(cls, found: str) -> str:
        return _matching(found, r"https?://[^/@?#\s]+", "http(s)://HOST[:PORT], without a path or a password")

    @field_validator("database")
    @classmethod
    def _database(cls, found: str) -> str:
        form = r"mysql\+pymysql://[^/@?#\s]+/\w+"
        return _matching(
            found, form, "mysql+pymysql://HOST[:PORT]/NAME, since user and password are in the secret slipway-ledger"
        )

    @field_validator("priority_class", "storage_class")
    @classmethod
    def _class(cls, found: str) -> str:
        return found and _matching(found, rf"{DNS}(\.{DNS})*", "the name of a class")

    @field_validator("bucket", "system_namespace", "models_namespace", "runs_namespace")
    @classmethod
    def _name(cls, found: str) -> str:
        return _matching(found, DNS, "a name of lower case letters, digits and -")

    @field_validator("registry")
    @classmethod
    def _registry(cls, found: str) -> str:
        return found and _matching(
            found, r"[^\s:/@]+(:\d+)?(/[^\s:@]+)?", "HOST[:PORT][/PATH], without a scheme or a tag"
        )

    @field_validator("own_packages")
    @classmethod
    def _packages(cls, found: str) -> str:
        return found and _matching(found, r"\w[\w.-]*(,\w[\w.-]*)*", "names of Python packages, with commas alone")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if len(set(self.namespaces.values())) < len(self.namespaces):
            raise ValueError(f"expected three namespaces, got {', '.join(self.namespaces.values())}")
        return self

    @classmethod
    def read(cls, text: str) -> Self:
        """The site of a file of lines ``NAME=value``; what follows `` #`` is for people.

        Raises:
            ConfigError: a line is none, a name is unknown or there twice, or a value cannot be meant.
        """
        found: dict[str, str] = {}
        for number, line in enumerate(text.splitlines(), 1):
            said = re.sub(r"(^|\s)#.*", "", line).strip()
            name, equals, value = (part.strip() for part in said.partition("="))
            if said and (not equals or not re.fullmatch(r"[A-Z_]+", name)):
                raise ConfigError(f"line {number}: expected NAME=value, got {said!r}")
            if name.lower() in found:
                raise ConfigError(f"line {number}: {name} is there twice")
            if said:
                found[name.lower()] = value
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            faults = [([*one["loc"], ""][0], one["msg"].removeprefix("Value error, ")) for one in error.errors()]
            told = "; ".join(f"{str(name).upper()}: {fault}".removeprefix(": ") for name, fault in faults)
            known = ", ".join(name.upper() for name in cls.model_fields)
            raise ConfigError(f"{told}; there are {known}") from error

    @classmethod
    def of(cls, path: Path) -> Self:
        """The site of a file, or the usual one where there is none; ends the program where it cannot be meant."""
        try:
            return cls.read(path.read_text(encoding="utf-8")) if path.is_file() else cls()
        except ConfigError as error:
            click.echo(f"{path}: {error}", err=True)
            sys.exit(error.exit_code)

    @property
    def serving(self) -> str:
        """The place's serving URI."""
        usual = Site()
        told = [("domain", self.host, usual.host), ("gateway", self.gateway, usual.gateway)]
        told.append(("priority", self.priority_class, usual.priority_class))
        query = "&".join(f"{name}={value}" for name, value, other in told if value != other)
        return f"kserve://{self.models_namespace}" + (f"?{query}" if query else "")

    @property
    def place(self) -> dict[str, str]:
        """The variables of ConfigMap ``slipway-place`` that follow from it."""
        return {
            "SLIPWAY_LEDGER": f"{self.database}?read_default_file=/run/secrets/slipway/ledger/my.cnf",
            "SLIPWAY_TRACKING": self.tracking,
            "SLIPWAY_STORE": f"s3://{self.bucket}/models",
            "SLIPWAY_SERVING": self.serving,
            SYSTEM: self.system_namespace,
            VARIABLE: self.own_packages,
        }

    @property
    def has_own_store(self) -> bool:
        """Whether the object store is the MinIO that a deployment brings."""
        return (urlsplit(self.object_store).hostname or "").split(".")[:2] == ["minio", self.system_namespace]

    @property
    def namespaces(self) -> dict[str, str]:
        """What the manifests call a namespace, and what it is called here."""
        names = ("system_namespace", "models_namespace", "runs_namespace")
        return {str(Site.model_fields[name].default): getattr(self, name) for name in names}


def rendered(objects: Iterable[Object], site: Site) -> list[Object]:
    """*objects* for *site*."""
    found = [_valued(one, site) for one in objects]
    if site.namespaces == Site().namespaces:
        return found
    # What lies in none of its namespaces is beside another team's of the same name.
    shared = {id(one) for one in found if _is_shared(one, site.namespaces)}
    names = {str(one["metadata"]["name"]) for one in found if id(one) in shared}
    called = {name: f"{name}-{site.system_namespace}" for name in names}
    return [_moved(_called(one, called, id(one) in shared), site.namespaces) for one in found]


def _is_shared(found: Object, own: Iterable[str]) -> bool:
    elsewhere = found["kind"] != "Namespace" and found["metadata"].get("namespace") not in own
    return elsewhere and str(found["metadata"]["name"]).startswith("slipway")


def _valued(found: Object, site: Site) -> Object:
    """*found* with the values that stand in fields of their own."""
    kind = found["kind"]
    if kind == "ConfigMap" and found["metadata"]["name"] == "slipway-place":
        return {**found, "data": {**found["data"], **site.place}}
    if kind in ("Deployment", "StatefulSet"):
        return {**found, "spec": _workload(found["spec"], site)}
    if kind == "NetworkPolicy" and "egress" in found["spec"] and not site.has_own_store:
        return {**found, "spec": {**found["spec"], "egress": _ways(found["spec"]["egress"], site.object_store)}}
    if kind == "ServingRuntime":
        return _runtime(found, site)
    return found


def _runtime(found: Object, site: Site) -> Object:
    told: Object = _told(found, lambda text: text.replace(f"s3://{Site().bucket}/", f"s3://{site.bucket}/"))
    (server,) = told["spec"]["containers"]
    next(one for one in server["env"] if one["name"] == VARIABLE)["value"] = site.own_packages
    return told


def _workload(spec: Object, site: Site) -> Object:
    if site.storage_class and "volumeClaimTemplates" in spec:
        more = {"storageClassName": site.storage_class}
        claims = [{**one, "spec": {**one["spec"], **more}} for one in spec["volumeClaimTemplates"]]
        spec = {**spec, "volumeClaimTemplates": claims}
    if site.priority_class:
        pods = {**spec["template"]["spec"], "priorityClassName": site.priority_class}
        spec = {**spec, "template": {**spec["template"], "spec": pods}}
    return spec


def _ways(egress: list[Object], store: str) -> list[Object]:
    """*egress* to a store that is no pod of ours: nobody knows where it is beforehand, its port is said."""
    parts = urlsplit(store)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return [{"ports": [{"port": port}]} if "minio" in str(way.get("to", "")) else way for way in egress]


def _called(found: Object, called: Mapping[str, str], shared: bool) -> Object:
    """*found* by its name for this site where it is *shared*, and what it refers to by theirs."""
    metadata = found["metadata"]
    told = {**found, "metadata": {**metadata, "name": called[metadata["name"]]}} if shared else dict(found)
    if "roleRef" in told:
        told["roleRef"] = {**told["roleRef"], "name": called.get(told["roleRef"]["name"], told["roleRef"]["name"])}
    if "policyName" in told.get("spec", {}):
        policy = told["spec"]["policyName"]
        told["spec"] = {**told["spec"], "policyName": called.get(policy, policy)}
    return told


def _moved(found: Object, names: Mapping[str, str]) -> Object:
    """*found* with each namespace by its name here, wherever it is named: in fields, selectors, hosts and commands."""
    if found["kind"] == "Namespace":
        name = found["metadata"]["name"]
        found = {**found, "metadata": {**found["metadata"], "name": names.get(name, name)}}
    old = "|".join(map(re.escape, names))
    before = ("(?<=[a-z0-9][.])", "(?<=-n )", "(?<=namespace[= ])", "(?<=kserve://)", r"(?<=names: \[)")
    text = re.compile(rf"({'|'.join(before)})({old})(?![\w-])")
    moved: Object = _told(found, lambda said: text.sub(lambda hit: names[hit[2]], said), names)
    return moved


def _told(found: Any, of_text: Callable[[str], str], names: Mapping[str, str] | None = None) -> Any:
    """*found* with each text as *of_text* says it, and each namespace that a field names by *names*."""
    if isinstance(found, str):
        return of_text(found)
    if isinstance(found, list):
        return [_told(one, of_text, names) for one in found]
    if not isinstance(found, dict):
        return found
    told = {key: _told(value, of_text, names) for key, value in found.items()}
    if not names:
        return told
    if told.get("key") == NAMED:  # one of a selector's expressions
        return told | {"values": [names.get(one, one) for one in told["values"]]}
    return told | {
        key: names.get(told[key], told[key]) for key in ("namespace", NAMED) if isinstance(told.get(key), str)
    }


@click.command(help=(__doc__ or "").splitlines()[0])
@click.argument("values", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--say", type=click.Choice([*Site.model_fields]), help="Print one value, and read nothing.")
def main(values: Path, say: str | None) -> None:
    site = Site.of(values)
    if say:
        click.echo(site.model_dump()[say])
        return
    if site == Site():
        shutil.copyfileobj(sys.stdin, sys.stdout)
        return
    objects = [one for one in yaml.load_all(sys.stdin, yaml.CSafeLoader) if one]
    sys.stdout.write(yaml.dump_all(rendered(objects, site), Dumper=yaml.CSafeDumper, sort_keys=False))


def _matching(found: str, form: str, meant: str) -> str:
    if not re.fullmatch(form, found):
        raise ValueError(f"expected {meant}, got {found!r}")
    return found


if __name__ == "__main__":
    main()
