"""The reference of every key as Markdown tables: `python -m recoverd.inventory.reference docs/inventory.md` renews it."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from recoverd.inventory.alerts import AlertSource, Basic, Bearer, GrafanaHmac, Route
from recoverd.inventory.backups import (
    Backup,
    DrillRules,
    HostSite,
    RestoreCheck,
    RestoreRules,
    Retention,
    S3Site,
    WalRules,
)
from recoverd.inventory.data import AuditTable, DataRule, DataRules, Takedown
from recoverd.inventory.evidence import EvidencePlace
from recoverd.inventory.fencing import FenceDevice
from recoverd.inventory.files import FilesBackup, FilesRules
from recoverd.inventory.hosts import Host
from recoverd.inventory.isolation import Limit, Probes, Zone
from recoverd.inventory.isolation_aws import AwsCredentials, AwsIsolation
from recoverd.inventory.isolation_drains import HaproxyDrain
from recoverd.inventory.matchers import Matcher
from recoverd.inventory.people import Person, Role, Site
from recoverd.inventory.pgbackrest import PgBackRest, Repository
from recoverd.inventory.policies import Approvals, Policy, SentinelPolicy, Triggers
from recoverd.inventory.postgres import Control, PatroniApi, Postgres, PostgresOverrides
from recoverd.inventory.secret import SecretRef
from recoverd.inventory.services import Libpq, Member, Objectives, Service, VirtualAddress

FILES: dict[str, tuple[type[BaseModel], ...]] = {
    "hosts.yaml": (Host,),
    "services.yaml": (
        Service,
        Member,
        Postgres,
        PostgresOverrides,
        Control,
        PatroniApi,
        VirtualAddress,
        Libpq,
        Objectives,
    ),
    "sites.yaml": (Site,),
    "people.yaml": (Role, Person),
    "policies.yaml": (Policy, Triggers, Approvals, SentinelPolicy),
    "fencing.yaml": (FenceDevice,),
    "alerts.yaml": (AlertSource, Bearer, Basic, GrafanaHmac, Route, Matcher),
    "backups.yaml": (
        Backup,
        HostSite,
        S3Site,
        Retention,
        WalRules,
        RestoreRules,
        DrillRules,
        RestoreCheck,
        FilesBackup,
        FilesRules,
        PgBackRest,
        Repository,
    ),
    "isolation.yaml": (Zone, Limit, Probes, HaproxyDrain, AwsIsolation, AwsCredentials, EvidencePlace),
    "data.yaml": (DataRules, DataRule, AuditTable, Takedown),
    "any file": (SecretRef,),
}
BEGIN, END = "<!-- reference: begin -->", "<!-- reference: end -->"


def main(arguments: list[str]) -> int:
    """Renew the reference in the document; the exit code."""
    path = Path(arguments[0] if arguments else "docs/inventory.md")
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def renewed(document: str) -> str:
    """The document with a current reference between its two marks."""
    before, _, rest = document.partition(BEGIN)
    return f"{before}{BEGIN}\n{reference()}{END}{rest.partition(END)[2]}"


def reference() -> str:
    """A section a file, a table a model."""
    parts = []
    for file, models in FILES.items():
        parts.append(f"\n### {file}\n")
        parts += [_table(model) for model in models]
    return "".join(parts) + "\n"


def _table(model: type[BaseModel]) -> str:
    first = (model.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    rows = [_row(name, field) for name, field in model.model_fields.items()]
    return "\n".join(
        ["", f"**{model.__name__}**: {first}", "", "| key | value | default | |", "|---|---|---|---|", *rows, ""]
    )


def _row(name: str, field: FieldInfo) -> str:
    if field.is_required():
        default = "required"
    else:
        value = field.get_default(call_default_factory=True, validated_data={})
        default = "" if value in (None, (), {}) or isinstance(value, (BaseModel, Mapping)) else f"`{_yaml(value)}`"
    described = (field.description or "").replace("|", "\\|")
    return f"| `{name}` | {_kind(field.annotation)} | {default} | {described} |"


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is Literal:
        return " \\| ".join(f"`{word}`" for word in arguments)
    if origin in (Union, types.UnionType):
        return " \\| ".join(dict.fromkeys(_kind(one) for one in arguments if one is not type(None)))
    if origin is tuple:
        return f"list of {_kind(arguments[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"mapping: {_kind(arguments[0])} to {_kind(arguments[1])}"
    names = {"str": "text", "int": "number", "float": "number", "bool": "yes/no", "Path": "path", "Any": "anything"}
    name = re.sub(r"^.*\.", "", getattr(annotation, "__name__", str(annotation)))
    return names.get(name, name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
